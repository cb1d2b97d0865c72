"""Timesteps: from which range of a prior's noise a step draws its levels, and how they weigh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

Bounds = tuple[float, float]  # the lowest and the highest share of the prior's training timesteps
FULL_BOUNDS: Bounds = (0.02, 0.98)  # DreamFusion's (arXiv 2209.14988)
LATE_BOUNDS: Bounds = (0.02, 0.5)  # ProlificDreamer's in the end (arXiv 2305.16213)


class TimestepSchedule(ABC):
    """The range of timesteps of every step, in shares of the prior's training timesteps."""

    @abstractmethod
    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest share, float `(W,)` each, of the steps `(W,)`."""


@final
@dataclass(frozen=True)
class ConstantRange(TimestepSchedule):
    """The same range all the way; 0.02 to 0.98 is DreamFusion's (arXiv 2209.14988)."""

    low: float = 0.02
    high: float = 0.98

    def __post_init__(self) -> None:
        _require_bounds(f"ConstantRange({self.low}, {self.high})", (self.low, self.high))

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full(steps.shape, self.low), torch.full(steps.shape, self.high)


@final
@dataclass(frozen=True)
class AnnealedRange(TimestepSchedule):
    """From one range to another in a straight line over `length` steps; the latter from there on."""

    length: int
    begin: Bounds = FULL_BOUNDS
    end: Bounds = LATE_BOUNDS

    def __post_init__(self) -> None:
        _require_bounds(f"AnnealedRange({self.length}, begin={self.begin}, end={self.end})", self.begin, self.end)

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        last_step = max(self.length - 1, 1)
        progress = steps.cpu().double() / last_step
        share = progress.clamp(0, 1).float()
        return _between_bounds(self.begin, self.end, share)


@final
@dataclass(frozen=True)
class SwitchedRange(TimestepSchedule):
    """One range before step `at`, another from it on; ProlificDreamer's is 0.02 to 0.98, then to 0.5, at 5000."""

    at: int
    begin: Bounds = FULL_BOUNDS
    end: Bounds = LATE_BOUNDS

    def __post_init__(self) -> None:
        _require_bounds(f"SwitchedRange({self.at}, begin={self.begin}, end={self.end})", self.begin, self.end)

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        share = (steps.cpu() >= self.at).float()
        return _between_bounds(self.begin, self.end, share)


def variance_weight(signal: Tensor, noise: Tensor) -> Tensor:
    """Return the weight `sigma_t^2` of DreamFusion: the share of the noise, `(N,)` from signal and noise `(N,)`."""
    return noise.square() / (signal.square() + noise.square())


def uniform_weight(signal: Tensor, noise: Tensor) -> Tensor:
    """Return the weight one at every level."""
    return torch.ones_like(noise)


def _between_bounds(
    begin: Bounds,
    end: Bounds,
    share: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the bounds `(W,)` at shares `(W,)` of the way from one range to another."""
    low = begin[0] + (end[0] - begin[0]) * share
    high = begin[1] + (end[1] - begin[1]) * share
    return low, high


def _require_bounds(expression: str, *ranges: Bounds) -> None:
    for low, high in ranges:
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"{expression}: {low} to {high} is not a range of timesteps; pass shares like (0.02, 0.98)"
            )
