"""Method: how the outputs of a window become its next path.

A method is given the window in flight and calls `evaluate` as often as it needs; each call is a round. It is a frozen
set of settings: what changes from round to round comes in with the `WindowState` and goes out with the `WindowUpdate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem, SweepResult, interpolate_rows
from forerun.engine.skeleton import Skeleton


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
        sparse: which steps shall be evaluated; None for all, as always with a method that needs every step.
    """

    problem: Problem
    start: int
    states: Sequence[Tree]
    inputs: Tensor
    previous: StepEvaluations | None = None
    memory: Any = None
    sparse: Skeleton | None = None

    @property
    def skeleton(self) -> Skeleton:
        """Which steps shall be evaluated."""
        return self.sparse or Skeleton.all_steps(self.start, self.stop)

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

    def list_slots_evaluated_twice(self) -> Sequence[int]:
        """Return the places of the steps that are evaluated in this round and were in the one before, ascending."""
        if self.previous is None:
            return []
        if self.sparse is None and self.previous.sparse is None:
            previous_stop = self.previous.start + len(self.previous)
            return range(max(min(previous_stop, self.stop) - self.start, 0))
        return self.skeleton.list_common_slots(self.previous.skeleton)

    def evaluate_skeleton(self, evaluate: Evaluate) -> Tensor:
        """Return output rows `(W, *batch, E)` of all steps: evaluated on the skeleton, interpolated between."""
        if self.sparse is None:
            return evaluate(self.steps, self.inputs)
        slots = self.sparse.list_slots()
        places = torch.tensor(slots, device=self.inputs.device)
        outputs = evaluate(places + self.start, self.inputs[places])
        return interpolate_rows(outputs, slots, len(self.inputs))


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

    @property
    def needs_every_step(self) -> bool:
        """Whether all steps of a window must be evaluated in every round.

        A method that does not need that calls `window_state.evaluate_skeleton(evaluate)`, and hands
        `window_state.sparse` on with its evaluations.
        """
        return True

    @abstractmethod
    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        """Evaluate the window and sweep it."""

    def stop(self, start: int, stop: int) -> int:
        """Return where a window that may reach to `stop` shall end; `stop` unless the method wants it shorter."""
        return stop
