"""Sequential: the ordinary loop, the truth that the others are tested against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.methods.base import Evaluate, Method, StepEvaluations, WindowState, WindowUpdate
from forerun.engine.rows import SweepResult


@dataclass(frozen=True)
class Sequential(Method):
    """Every step evaluated at its exact input, one after another: `x_{i+1} = advance(i, x_i, evaluate(i, x_i))`.

    Args:
        steps_per_round: steps taken in one iteration, that is between two callbacks; each is a round.
    """

    steps_per_round: int = 32

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        problem, state = front.problem, front.state
        steps = problem.step_range(front.start, min(front.start + self.steps_per_round, problem.length))
        states, inputs, outputs = [], [problem.observe(state)], []
        for index, step in enumerate(steps.split(1)):
            outputs.append(evaluate(step, inputs[-1].unsqueeze(0)))
            state = problem.advance(front.start + index, state, outputs[-1][0])
            states.append(state)
            inputs.append(problem.observe(state))
        rows, found = torch.stack(inputs), torch.cat(outputs)
        moves = rows[:-1] - rows[:-1]  # zero, but for what is not finite
        return WindowUpdate(
            sweep=SweepResult(states, rows, found, moves),
            evaluations=StepEvaluations(front.start, rows[:-1], found),
            in_order=True,
        )

    def stop(self, start: int, stop: int) -> int:
        return start + 1
