"""PlainWalk: some steps in order as the user's own loop takes them, each from its exact state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowUpdate
from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.autocast import call_as_user
from forerun.engine.numerics.tree import Tree, join_trees
from forerun.engine.plain_step import PlainStep, list_step_tensors
from forerun.engine.process import Process
from forerun.engine.rows import Problem, SweepResult

FEWEST_STEPS: Final = 32  # of a walk that is given no number, where the path has as many
QUICK_SECONDS: Final = 0.02  # that such a walk goes on for at least, so that what is done between walks is little
QUICK_STEPS: Final = 1024  # that it has at most
LOOK_STEPS: Final = 16  # between two looks at the clock
QUICK_ELEMENTS: Final = 2**20  # of observed states, that it holds at most


@final
class PlainWalk:
    """Some steps in order, each from its exact state.

    Args:
        problem: the process, in rows.
        start: the first step.
        state: its state.
        steps: how many to take; None for as many as suit their pace.
        unless_over_in: seconds: where the path will be over sooner than that, it is taken to its end.
    """

    def __init__(
        self, problem: Problem, start: int, state: Tree, *, steps: int | None, unless_over_in: float = 0.0
    ) -> None:
        self._problem = problem
        self._start = start
        self._first_state = state
        self._earliest_end = start + (steps or FEWEST_STEPS) - 1
        self._unless_over_in = unless_over_in
        stop = min(start + _bound_steps(problem, steps if not unless_over_in else None), problem.length)
        self._indices = list_step_tensors(self.device, problem.length)[start:stop]
        self._step = PlainStep(problem)
        self._states: list[Tree] = []
        self._error: BaseException | None = None

    @property
    def count(self) -> int:
        """Number of steps that are finished."""
        return len(self._states)

    @property
    def device(self) -> torch.device:
        """Where the steps are taken."""
        return self._problem.input_layout.device

    def take_first(self) -> None:
        """Take the first step, and hold it against the contract of a process."""
        state = call_as_user(self._step.take_first, self._start, self._indices[0], self._first_state)
        self._states.append(state)

    def take_others(self, read_elapsed: Callable[[], float]) -> None:
        """Take the steps after the first; an interrupt or an error ends the walk, and loses none that is finished."""
        try:
            call_as_user(self._take_others, read_elapsed)
        except BaseException as error:  # an interrupt too
            self._error = self._step.explain_error(error, self.count)

    def update(self) -> WindowUpdate:
        """Return what the walk comes to."""
        states = self._states
        inputs = _pack_states(self._problem, [self._first_state, *states])
        outputs = self._step.pack_outputs(inputs)
        moves = inputs[:-1] - inputs[:-1]  # zero, but for what is not finite
        return WindowUpdate(
            sweep=SweepResult(states, inputs, outputs, moves),
            evaluations=StepEvaluations(self._start, inputs[:-1], outputs),
            in_order=True,
            error=self._error,
        )

    def _take_others(self, read_elapsed: Callable[[], float]) -> None:
        state, step = self._states[0], self._start
        take_next, add_state = self._step.take_next, self._states.append
        end_time = time.perf_counter() + QUICK_SECONDS
        next_look = self._earliest_end
        for index in self._indices[1:]:
            step += 1
            state = take_next(step, index, state)
            add_state(state)
            if step < next_look:
                continue
            next_look = step + LOOK_STEPS
            if self._is_enough(read_elapsed, end_time):
                break

    def _is_enough(self, read_elapsed: Callable[[], float], end_time: float) -> bool:
        """Return whether the walk ends here: it has gone on for a while, or the path is far from its end."""
        if not self._unless_over_in:
            return time.perf_counter() > end_time
        steps = self._problem.length - self._start - 1
        return read_elapsed() / (self.count - 1) * steps > self._unless_over_in


def _bound_steps(problem: Problem, steps: int | None) -> int:
    """Return how many steps a walk has at most."""
    if steps is not None:
        return steps
    layout = problem.input_layout
    elements = max(layout.batch.numel() * layout.width, 1)
    return min(max(QUICK_ELEMENTS // elements, FEWEST_STEPS), QUICK_STEPS)


def _pack_states(problem: Problem, states: Sequence[Tree]) -> Tensor:
    """Return the input rows of some states, `(count, *batch, D)`."""
    observed = states
    if type(problem.process).observe is not Process.observe:
        observed = call_as_user(lambda: [problem.process.observe(state) for state in states])
    try:
        return problem.input_layout.pack(join_trees(torch.stack, observed), len(observed))
    except (RuntimeError, TypeError, ValueError):  # states of several kinds: say which
        return torch.stack([problem.observe(state) for state in states])
