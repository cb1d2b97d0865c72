"""Tolerance: in which norm a step's residual is measured, and how small it must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

Norm = Callable[[Tensor], Tensor]


def rms(rows: Tensor) -> Tensor:
    """Return the root mean square of each row, `(..., D) -> (...)`."""
    size: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return size / sqrt(max(rows.shape[-1], 1))


def largest_element(rows: Tensor) -> Tensor:
    """Return the largest element of each row by size, `(..., D) -> (...)`; 0 where a row has none."""
    if rows.shape[-1] == 0:
        return rms(rows)
    return rows.abs().amax(-1)


class Tolerance(ABC):
    """The unit of residuals and deviations, and the threshold they must keep."""

    @abstractmethod
    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        """Return the sizes `(W, *batch)` of the moves `(W, *batch, D)` that the inputs of the steps `(W,)` made."""

    @abstractmethod
    def threshold(self) -> float:
        """Return the largest residual with which a step is accepted in the first round."""

    def follow(self, threshold: float, residuals: Sequence[float]) -> float:
        """Return the threshold of the next round, given this round's residuals, one a step of the window."""
        return threshold


@dataclass(frozen=True)
class Absolute(Tolerance):
    """A step's input may move by `value`, in the units of the input."""

    value: float = 1e-3
    size: Norm = rms

    def __post_init__(self) -> None:
        _refuse_negative(self.value, f"Absolute({self.value})")

    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        return self.size(moves)

    def threshold(self) -> float:
        return self.value


@dataclass(frozen=True)
class Relative(Tolerance):
    """A step's input may move by `value` times its own size, or by `floor` where that is more."""

    value: float = 1e-3
    floor: float = 1e-8
    size: Norm = rms

    def __post_init__(self) -> None:
        _refuse_negative(self.value, f"Relative({self.value})")
        _refuse_negative(self.floor, f"Relative({self.value}, floor={self.floor})")

    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        unit = self.size(inputs) + self.floor / max(self.value, 1e-30)
        return self.size(moves) / unit.clamp_min(torch.finfo(unit.dtype).tiny)

    def threshold(self) -> float:
        return self.value


@dataclass(frozen=True)
class PerStep(Tolerance):
    """A step's input may move by `value` times the level of that step, such as its noise (ParaDiGMS, arXiv 2305.16317).

    Args:
        value: the share of the level.
        levels: `(length,)`, positive; the unit of each step. The last also measures the deviation.
    """

    value: float
    levels: Tensor
    size: Norm = rms

    def __post_init__(self) -> None:
        _refuse_negative(self.value, f"PerStep({self.value}, levels)")
        if self.levels.dim() != 1 or not bool((self.levels > 0).all()):
            smallest = float(self.levels.min()) if self.levels.numel() else None
            raise ValueError(
                f"PerStep takes one positive level a step, but got a tensor of shape {list(self.levels.shape)} whose "
                f"smallest entry is {smallest}; pass levels.clamp_min(1e-3) of shape (length,)"
            )

    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        levels = self.levels.to(moves)[steps.clamp_max(len(self.levels) - 1)]
        return self.size(moves) / levels.reshape(-1, *[1] * (moves.dim() - 2))

    def threshold(self) -> float:
        return self.value


@dataclass(frozen=True)
class Moving(Tolerance):
    """DreamPropeller's threshold: it follows the residuals of the run (arXiv 2311.17082).

    The residual is `scale` times the mean square of the move. After each round of `W` steps the threshold goes to
    `momentum * threshold + (1 - momentum) * e` with `e` the residual of the step `W // 2 + 1` of the window, counted
    from 0 (their code calls this the median), or the mean of all but the first with `mean=True`. It settles where about
    half a window is accepted, whatever the error: it controls the speed of a run, not its accuracy, and has forgotten
    `start` after some ten rounds. Their window also holds the state after its last step, which has no residual here: it
    counts for their mean, and for their median in windows of one or two steps.

    With `Copy()` as guess, `Picard()`, and a `Sliding` window this is their loop, round by round.
    """

    start: float
    momentum: float = 0.9
    mean: bool = False
    scale: float = 1e6

    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        return self.scale * rms(moves).square()

    def threshold(self) -> float:
        return self.start

    def follow(self, threshold: float, residuals: Sequence[float]) -> float:
        if len(residuals) < 2:
            return threshold
        new = self.momentum * threshold + (1 - self.momentum) * self._summarise(residuals[1:])
        if not new < float("inf"):  # nan is not
            return threshold
        return new

    def _summarise(self, residuals: Sequence[float]) -> float:
        """Return the mean or the middle of the residuals of all steps of the window but the first."""
        if self.mean:
            return sum(residuals) / len(residuals)
        middle = (len(residuals) + 1) // 2
        return residuals[min(middle, len(residuals) - 1)]


def _refuse_negative(value: float, setting: str) -> None:
    if not value >= 0:
        raise ValueError(f"{setting}: a tolerance must be a number >= 0, as residuals are; pass one such as 1e-3")
