"""Sequential: the ordinary loop, the truth that the others are tested against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.methods.base import Evaluate, Evaluated, Method, WindowState, WindowUpdate


@dataclass(frozen=True)
class Sequential(Method):
    """Every step evaluated at its exact input, one after another: `x_{i+1} = advance(i, x_i, evaluate(i, x_i))`.

    Args:
        stretch: steps taken in one iteration, that is between two callbacks; each is a round.
    """

    stretch: int = 32

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        problem, state = front.problem, front.state
        steps = problem.steps(front.start, min(front.start + self.stretch, problem.length))
        states, inputs, outputs = [], [problem.observe(state)], []
        for index, step in enumerate(steps.split(1)):
            outputs.append(evaluate(step, inputs[-1].unsqueeze(0)))
            state = problem.advance(front.start + index, state, outputs[-1][0])
            states.append(state)
            inputs.append(problem.observe(state))
        rows, found = torch.stack(inputs), torch.cat(outputs)
        return WindowUpdate(
            states=states,
            inputs=rows,
            outputs=found,
            moves=rows[:-1] - rows[:-1],  # zero, but for what is not finite
            evaluated=Evaluated(front.start, rows[:-1], found),
        )

    def stop(self, start: int, stop: int) -> int:
        return start + 1
