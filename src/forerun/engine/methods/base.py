"""Method: how the outputs of a window become its next path.

A method sees the front (the window in flight) and calls `evaluate` as often as it needs; each call is
a round. It is a frozen bag of settings: what moves comes in with the front and goes out with the iterate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.rows.sweep import Problem


class Evaluate(Protocol):
    """A round: output rows of many steps in one batched call, wherever the backend puts it."""

    def __call__(
        self, steps: Tensor, inputs: Tensor, call: Callable[[Tensor, Tensor], Tensor] | None = None, cost: int = 1
    ) -> Tensor:
        """Evaluate the process, or `call` instead of it.

        Args:
            steps: int64 `(W,)`.
            inputs: `(W, *batch, D)`.
            call: a function of steps and input rows that treats each step by itself and returns rows
                `(W, *batch, anything)`, such as outputs with derivatives behind them; None for `problem.evaluate`.
            cost: evaluations that a step of `call` counts for.
        """


@dataclass(frozen=True)
class Evaluated:
    """The last evaluation of the steps from `start` on: inputs `(W, *batch, D)` and outputs `(W, *batch, E)`."""

    start: int
    inputs: Tensor
    outputs: Tensor

    def since(self, start: int, count: int) -> Evaluated:
        """The part on the steps `start .. start+count-1`, as far as it reaches."""
        part = slice(start - self.start, start - self.start + count)
        return Evaluated(start, self.inputs[part], self.outputs[part])

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class WindowState:
    """The window in flight, `[start, stop)`, with the exact state of its first step."""

    problem: Problem
    start: int
    states: Sequence[Tree]  # x_start (exact) and the guesses x_{start+1} .. x_{stop-1}
    inputs: Tensor  # (W, *batch, D); the first is exact
    previous: Evaluated | None = None
    memory: Any = None  # the method's own, as it handed it back

    @property
    def stop(self) -> int:
        return self.start + len(self.inputs)

    @property
    def state(self) -> Tree:
        """The exact state of step `start`."""
        return self.states[0]

    @property
    def steps(self) -> Tensor:
        return self.problem.steps(self.start, self.stop)


@dataclass(frozen=True)
class WindowUpdate:
    """The path of a window after one iteration of a method.

    `moves` says, for every step, how far its new input lies from the one its output was evaluated at:
    where it is zero the step is exact, given the state before it.
    """

    states: Sequence[Tree]  # x_{start+1} .. x_stop
    inputs: Tensor  # (W + 1, *batch, D): of x_start .. x_stop
    outputs: Tensor  # (W, *batch, E): as used by the sweep
    moves: Tensor  # (W, *batch, D)
    evaluated: Evaluated
    slopes: Tensor | None = None
    guesses: Tensor | None = None  # inputs to evaluate next, (W + 1, *batch, D), where not those of the path
    memory: Any = None


class Method(ABC):
    """A way to turn one window's outputs into its next path.

    Whatever the method, the step at `front.start` is evaluated at its exact input and advanced plainly,
    so that every iteration accepts at least one step and `length` iterations are the worst case.
    """

    @abstractmethod
    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        """Evaluate the window and sweep it."""

    def stop(self, start: int, stop: int) -> int:
        """Where a window that may reach to `stop` shall end; `stop` unless the method wants it shorter."""
        return stop
