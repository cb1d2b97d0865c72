"""check_method: whether a method keeps its contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.methods import Evaluate, Method, Sequential, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.testing.agreement import (
    ANSWER_DISTANCE,
    SOLVE_TOLERANCE,
    Problems,
    is_close,
    is_same,
    largest_difference,
    require,
    small_problems,
)
from forerun.engine.windows import Full, Sliding, Window


@torch.no_grad()
def check_method(method: Method, *, problems: Problems | None = None) -> None:
    """Check that a method keeps its contract: the sequential answer, from windows of every width.

    Its first step is the plain one, so that every round makes progress; the leading steps whose `moves` are zero are
    exact; and it keeps nothing between runs.

    Args:
        method: the method.
        problems: processes and their first states to try it on; None for some small ones in double precision.

    Raises:
        ContractBroken: it does not.
    """
    inspected = _Inspected(method)
    for process, state in small_problems() if problems is None else problems:
        truth = solve(process, state, method=Sequential(), check=False)
        windows: tuple[Window, ...] = (
            Sliding(1),
            Sliding(3),
            Full(),
            Sliding(process.length + 5),
        )
        for window in windows:
            solution = _solve_problem(process, state, inspected, window)
            gap = largest_difference(solution.state, truth.state)
            require(
                gap <= ANSWER_DISTANCE,
                f"with {window} the answer is {gap:.1e} off the sequential one; moves must tell how far every new "
                "input lies from the one its output was evaluated at",
            )
            again = _solve_problem(process, state, inspected, window)
            require(
                solution.rounds == again.rounds and is_same(solution.state, again.state),
                f"with {window} a second run differs from the first; keep nothing in self, but hand it on with "
                "WindowUpdate(memory=...), which comes back as window_state.memory",
            )


def _solve_problem(
    process: Process,
    state: Tree,
    method: Method,
    window: Window,
) -> Solution:
    """Solve with a method, held to the tolerance of the checks."""
    return solve(
        process,
        state,
        method=method,
        window=window,
        tolerance=SOLVE_TOLERANCE,
        check=False,
    )


@final
@dataclass(frozen=True)
class _Inspected(Method):
    """A method whose every update is looked at."""

    method: Method

    @property
    def needs_every_step(self) -> bool:
        return self.method.needs_every_step

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        update = self.method.iterate(window_state, evaluate)
        _check_sizes(update)
        state = window_state.state
        for index in range(update.evaluations.skeleton.dense_count):
            if _has_moved(update.moves[index]):
                require(
                    index > 0,
                    "the first step moved; evaluate it at window_state.inputs[0], from window_state.state",
                )
                break
            _check_exact(window_state, update, index, state)
            state = update.states[index]
        return update

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)


def _check_sizes(update: WindowUpdate) -> None:
    """Check that an update has one of everything for every step."""
    count = len(update.moves)
    require(
        len(update.states) == count == len(update.outputs) == len(update.inputs) - 1 and count >= 1,
        f"the update has {len(update.states)} states, {len(update.outputs)} outputs, {count} moves and "
        f"{len(update.inputs)} inputs; give W of each for x_start+1 .. x_stop, and W + 1 inputs",
    )


def _has_moved(moves: Tensor) -> bool:
    """Whether a step has moved, by whatever little."""
    return not bool((moves == 0).all())


def _check_exact(
    window_state: WindowState,
    update: WindowUpdate,
    index: int,
    state: Tree,
) -> None:
    """Check that a step that did not move is the process's own."""
    problem, step = window_state.problem, window_state.start + index
    state_input = problem.observe(state).unsqueeze(0)
    output = problem.evaluate(problem.step_range(step, step + 1), state_input)[0]
    next_state = problem.advance(step, state, output)
    sentence = (
        f"step {step} did not move, says the method, but is not exact; moves must tell how far its new input lies from "
        "the one its output was evaluated at"
    )
    if index == 0:
        sentence = (
            "the first step is not exact; evaluate it at window_state.inputs[0] and advance window_state.state plainly"
        )
    gap = largest_difference(next_state, update.states[index])
    require(gap <= ANSWER_DISTANCE, sentence)
    observed = problem.observe(update.states[index])
    require(
        is_close(observed, update.inputs[index + 1], ANSWER_DISTANCE),
        "inputs[k + 1] is not observe(states[k]); let it be",
    )
