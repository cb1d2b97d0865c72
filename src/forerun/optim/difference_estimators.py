"""Estimates of a gradient from values of a function alone: along random directions, or along all coordinates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CoordinateDifferences", "DifferenceEstimator", "OnePoint", "TwoPoint", "draw_normal"]

BatchedFunction = Callable[[Tensor], Tensor]  # points (..., d) -> values (...)


class DifferenceEstimator(ABC):
    """An estimate of a gradient from values of a function alone."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the estimate, for tables."""

    @abstractmethod
    def estimate_gradient(
        self, function: BatchedFunction, points: Tensor, smoothing: float, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        """Return gradients `(S, d)` at points `(S, d)`, from one batched call, and evaluations for each point."""


@dataclass(frozen=True)
class TwoPoint(DifferenceEstimator):
    """Central differences along normal directions: two evaluations each, and errors of the second order in `u`.

    Args:
        directions: `m`, all in one call.
    """

    directions: int = 1

    @property
    def name(self) -> str:
        return f"two points, {self.directions} directions"

    def estimate_gradient(
        self, function: BatchedFunction, points: Tensor, smoothing: float, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        z = draw_normal((self.directions, *points.shape), points, generator)
        values = function(points + smoothing * torch.stack([z, -z]))
        slopes = (values[0] - values[1]) / (2 * smoothing)
        return (slopes.unsqueeze(-1) * z).mean(0), 2 * self.directions


@dataclass(frozen=True)
class OnePoint(DifferenceEstimator):
    """Values along normal directions, `f(x + u z) / u z`: half the evaluations, and a spread that grows as 1 / u.

    Args:
        directions: `m`, all in one call.
    """

    directions: int = 1

    @property
    def name(self) -> str:
        return f"one point, {self.directions} directions"

    def estimate_gradient(
        self, function: BatchedFunction, points: Tensor, smoothing: float, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        z = draw_normal((self.directions, *points.shape), points, generator)
        values = function(points + smoothing * z)
        return (values.unsqueeze(-1) / smoothing * z).mean(0), self.directions


@dataclass(frozen=True)
class CoordinateDifferences(DifferenceEstimator):
    """Central differences along all coordinates: the gradient itself, for two evaluations a dimension."""

    @property
    def name(self) -> str:
        return "coordinates"

    def estimate_gradient(
        self, function: BatchedFunction, points: Tensor, smoothing: float, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        size = points.shape[-1]
        offsets = smoothing * torch.eye(size, dtype=points.dtype, device=points.device).unsqueeze(1)
        values = function(points + torch.stack([offsets, -offsets]))
        return ((values[0] - values[1]) / (2 * smoothing)).mT, 2 * size


def draw_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal numbers in the dtype and on the device of a tensor."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
