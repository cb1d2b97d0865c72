"""Method: how the outputs of a window become its next path.

A method is given the window in flight and calls `evaluate` as often as it needs; each call is a round. It is a frozen
set of settings: what changes from round to round comes in with the `WindowState` and goes out with the `WindowUpdate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem, SweepResult


class Evaluate(Protocol):
    """A round: output rows of many steps in one batched call, wherever the backend puts it."""

    def __call__(
        self,
        steps: Tensor,
        inputs: Tensor,
        call: Callable[[Tensor, Tensor], Tensor] | None = None,
        cost: int = 1,
    ) -> Tensor:
        """Evaluate the process, or `call` instead of it.

        Args:
            steps: int64 `(W,)`.
            inputs: `(W, *batch, D)`.
            call: a function of steps and input rows that treats each step by itself and returns rows
                `(W, *batch, anything)`, such as outputs with derivatives after them; None for `problem.evaluate`.
            cost: evaluations that a step of `call` counts for.
        """


@dataclass(frozen=True)
class StepEvaluations:
    """The last evaluation of the steps from `start` on: inputs `(W, *batch, D)` and outputs `(W, *batch, E)`."""

    start: int
    inputs: Tensor
    outputs: Tensor

    def select_steps(self, start: int, count: int) -> StepEvaluations:
        """Return the evaluations of the steps `start .. start+count-1`, of as many as there are."""
        rows = slice(start - self.start, start - self.start + count)
        return StepEvaluations(start, self.inputs[rows], self.outputs[rows])

    def __len__(self) -> int:
        return self.inputs.shape[0]


@dataclass(frozen=True)
class WindowState:
    """The window in flight, `[start, stop)`, with the exact state of its first step.

    Attributes:
        problem: the process, in rows.
        start: the first step of the window.
        states: `x_start`, which is exact, and the guesses `x_{start+1} .. x_{stop-1}`.
        inputs: `(W, *batch, D)`, to be evaluated; the first is exact.
        previous: the last evaluations of these steps; None before the first round.
        memory: what the method handed on with its last `WindowUpdate`.
    """

    problem: Problem
    start: int
    states: Sequence[Tree]
    inputs: Tensor
    previous: StepEvaluations | None = None
    memory: Any = None

    @property
    def stop(self) -> int:
        """The step after the last one of the window."""
        return self.start + self.inputs.shape[0]

    @property
    def state(self) -> Tree:
        """The exact state of step `start`."""
        return self.states[0]

    @property
    def steps(self) -> Tensor:
        """The steps of the window, int64 `(W,)`."""
        return self.problem.step_range(self.start, self.stop)


@dataclass(frozen=True)
class WindowUpdate:
    """What one iteration of a method makes of a window: its new path, and what the next iteration needs.

    `sweep.moves` says, for every step, how far its new input lies from the one its output was evaluated at:
    where it is zero the step is exact, given the state before it.

    Attributes:
        sweep: the new path: states, inputs, outputs as they were used, and moves.
        evaluations: what was evaluated.
        slopes: those the sweep was made with; None for zero.
        guesses: inputs to evaluate next, `(W + 1, *batch, D)`; None for those of the path.
        memory: comes back to the method in the next `WindowState`.
        in_order: the steps were evaluated one after another, each at its exact input: the plain loop.
        error: what ended the iteration early, an interrupt or an error; raised once its steps are accepted.
    """

    sweep: SweepResult
    evaluations: StepEvaluations
    slopes: Tensor | None = None
    guesses: Tensor | None = None
    memory: Any = None
    in_order: bool = False
    error: BaseException | None = None

    @property
    def states(self) -> Sequence[Tree]:
        """The new states, `x_{start+1} .. x_stop`."""
        return self.sweep.states

    @property
    def inputs(self) -> Tensor:
        """The new inputs `(W + 1, *batch, D)`, of `x_start .. x_stop`."""
        return self.sweep.inputs

    @property
    def outputs(self) -> Tensor:
        """The outputs `(W, *batch, E)`, as the sweep used them."""
        return self.sweep.outputs

    @property
    def moves(self) -> Tensor:
        """How far each new input lies from the one that was evaluated, `(W, *batch, D)`."""
        return self.sweep.moves


class Method(ABC):
    """A way to turn one window's outputs into its next path.

    Whatever the method, the first step of the window is evaluated at its exact input and advanced plainly,
    so that every iteration accepts at least one step and `length` iterations are the worst case.
    """

    @abstractmethod
    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        """Evaluate the window and sweep it."""

    def stop(self, start: int, stop: int) -> int:
        """Return where a window that may reach to `stop` shall end; `stop` unless the method wants it shorter."""
        return stop
