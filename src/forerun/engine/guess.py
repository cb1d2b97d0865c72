"""Guess: what stands in a slot before its step was ever evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.sweep import Joined, Problem, sweep
from forerun.engine.tree import Tree


class Guess(ABC):
    """How the slots that enter the window are filled."""

    @abstractmethod
    def enter(
        self, problem: Problem, start: int, stop: int, state: Tree, outputs: Tensor | None
    ) -> tuple[Sequence[Tree], Tensor]:
        """States and input rows of the steps `start .. stop-1`; fewer where nothing is known yet.

        Args:
            state: of step `start`.
            outputs: `(K, *batch, E)`, the newest outputs of the steps before `start`; None at the very start.
        """


@dataclass(frozen=True)
class Hold(Guess):
    """Sweep on with the last output held: exact where the output no longer changes along the path."""

    def enter(
        self, problem: Problem, start: int, stop: int, state: Tree, outputs: Tensor | None
    ) -> tuple[Sequence[Tree], Tensor]:
        if outputs is None:
            return _first(problem, state)
        return _sweep_on(problem, start, state, outputs[-1:].expand(stop - start - 1, *outputs.shape[1:]))


@dataclass(frozen=True)
class Extrapolate(Guess):
    """Sweep on with the output continued along the trend of the last `span` outputs, damped by `decay` a step."""

    span: int = 4
    decay: float = 0.8

    def enter(
        self, problem: Problem, start: int, stop: int, state: Tree, outputs: Tensor | None
    ) -> tuple[Sequence[Tree], Tensor]:
        if outputs is None or len(outputs) < 2:
            return Hold().enter(problem, start, stop, state, outputs)
        back = min(self.span, len(outputs) - 1)
        trend = (outputs[-1] - outputs[-1 - back]) / back
        ahead = torch.full((stop - start - 1,), self.decay, device=trend.device, dtype=trend.dtype).cumprod(0).cumsum(0)
        return _sweep_on(problem, start, state, outputs[-1] + ahead.reshape(-1, *[1] * trend.dim()) * trend)


@dataclass(frozen=True)
class Copy(Guess):
    """Copy the last state into the new slots (ParaDiGMS, Algorithm 1, line 12)."""

    def enter(
        self, problem: Problem, start: int, stop: int, state: Tree, outputs: Tensor | None
    ) -> tuple[Sequence[Tree], Tensor]:
        seen = problem.observe(state)
        return [state] * (stop - start), seen.expand(stop - start, *seen.shape)


@dataclass(frozen=True)
class Known(Guess):
    """Inputs known beforehand for the whole path, such as those of an earlier run: a warm start.

    Args:
        inputs: tree like the input with a leading axis of `length`.
    """

    inputs: Tree

    def enter(
        self, problem: Problem, start: int, stop: int, state: Tree, outputs: Tensor | None
    ) -> tuple[Sequence[Tree], Tensor]:
        rows = problem.inputs.pack(self.inputs, problem.length)[start:stop].clone()
        rows[0] = problem.observe(state)
        return [state] * (stop - start), rows


def _first(problem: Problem, state: Tree) -> tuple[Sequence[Tree], Tensor]:
    return [state], problem.observe(state).unsqueeze(0)


def _sweep_on(problem: Problem, start: int, state: Tree, outputs: Tensor) -> tuple[Sequence[Tree], Tensor]:
    if not len(outputs):
        return _first(problem, state)
    width = (len(outputs), *problem.inputs.batch, problem.inputs.width)
    path = sweep(problem, start, state, outputs=outputs, around=outputs.new_zeros(()).expand(width))
    return Joined([state], path.states), path.inputs
