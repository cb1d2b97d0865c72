"""Timesteps: from which stretch of a prior's noise a step draws its levels, and how they weigh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class TimestepSchedule(ABC):
    """The stretch of every step, in shares of the prior's training timesteps."""

    @abstractmethod
    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest share, float `(W,)` each, of the steps `(W,)`."""


@final
@dataclass(frozen=True)
class ConstantRange(TimestepSchedule):
    """The same stretch all the way; 0.02 to 0.98 is DreamFusion's (arXiv 2209.14988)."""

    low: float = 0.02
    high: float = 0.98

    def __post_init__(self) -> None:
        _refuse(f"ConstantRange({self.low}, {self.high})", (self.low, self.high))

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full(steps.shape, self.low), torch.full(steps.shape, self.high)


@final
@dataclass(frozen=True)
class AnnealedRange(TimestepSchedule):
    """From one stretch to another in a straight line over `length` steps; the latter from there on."""

    length: int
    begin: tuple[float, float] = (0.02, 0.98)
    end: tuple[float, float] = (0.02, 0.5)

    def __post_init__(self) -> None:
        _refuse(f"AnnealedRange({self.length}, begin={self.begin}, end={self.end})", self.begin, self.end)

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        done = (steps.cpu().double() / max(self.length - 1, 1)).clamp(0, 1).float()
        low, high = (a + (b - a) * done for a, b in zip(self.begin, self.end, strict=True))
        return low, high


@final
@dataclass(frozen=True)
class SwitchedRange(TimestepSchedule):
    """One stretch before step `at`, another from it on; ProlificDreamer's is 0.02 to 0.98, then to 0.5, at 5000."""

    at: int
    begin: tuple[float, float] = (0.02, 0.98)
    end: tuple[float, float] = (0.02, 0.5)

    def __post_init__(self) -> None:
        _refuse(f"SwitchedRange({self.at}, begin={self.begin}, end={self.end})", self.begin, self.end)

    def bounds_at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        late = (steps.cpu() >= self.at).float()
        low, high = (a + (b - a) * late for a, b in zip(self.begin, self.end, strict=True))
        return low, high


def variance_weight(signal: Tensor, noise: Tensor) -> Tensor:
    """The weight `sigma_t^2` of DreamFusion: the share of the noise, `(N,)` from the rates `(N,)`."""
    return noise.square() / (signal.square() + noise.square())


def uniform_weight(signal: Tensor, noise: Tensor) -> Tensor:
    """The weight one at every level."""
    return torch.ones_like(noise)


def _refuse(came: str, *spans: tuple[float, float]) -> None:
    for low, high in spans:
        if not 0 <= low <= high <= 1:
            raise ValueError(f"{came}: {low} to {high} is no stretch of timesteps; pass shares like (0.02, 0.98)")
