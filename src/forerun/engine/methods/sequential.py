"""Sequential: the ordinary loop, the truth that the others are tested against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.methods.plain_walk import PlainWalk
from forerun.engine.rows import SweepResult


@dataclass(frozen=True)
class Sequential(Method):
    """Every step evaluated at its exact input, one after another: `x_{i+1} = advance(i, x_i, evaluate(i, x_i))`.

    Where the backend lets a loop run on this device, its steps are those of the user's own loop (`PlainWalk`).

    Args:
        steps_per_round: steps taken between two callbacks, each with its own call of evaluate; the log holds them as
            one `Round`. None for 32, or as many as are done in a fiftieth of a second.
        unless_over_in: seconds: a path that will be over sooner than that, at the pace of these steps, is taken to its
            end in the same round.
    """

    steps_per_round: int | None = None
    unless_over_in: float = 0.0

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        problem = window_state.problem
        if problem.excluded is None:
            walk = PlainWalk(
                problem,
                window_state.start,
                window_state.state,
                steps=self.steps_per_round,
                unless_over_in=self.unless_over_in,
            )
            if evaluate.take_in_order(walk):
                return walk.update()
        return self._evaluate_rows(window_state, evaluate)

    def stop(self, start: int, stop: int) -> int:
        return start + 1

    def _evaluate_rows(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        """Take the steps through the backend, in rows."""
        problem = window_state.problem
        start = window_state.start
        state = window_state.state
        steps = problem.step_range(start, min(start + (self.steps_per_round or 32), problem.length))
        states, input_rows, output_rows = [], [problem.observe(state)], []
        error: BaseException | None = None
        try:
            for index, step in enumerate(steps.split(1)):
                output = evaluate(step, input_rows[-1].unsqueeze(0))
                advance = problem.advance if index else problem.advance_first
                state = advance(start + index, state, output[0])
                observed = problem.observe(state)
                states.append(state)
                input_rows.append(observed)
                output_rows.append(output)
        except BaseException as interruption:  # an interrupt too: the steps that are finished are not lost
            if not output_rows:
                raise
            error = interruption
        count = len(output_rows)
        inputs = torch.stack(input_rows[: count + 1])
        outputs = torch.cat(output_rows)
        moves = inputs[:-1] - inputs[:-1]  # zero, but for what is not finite
        return WindowUpdate(
            sweep=SweepResult(states[:count], inputs, outputs, moves),
            evaluations=StepEvaluations(start, inputs[:-1], outputs),
            in_order=True,
            error=error,
        )
