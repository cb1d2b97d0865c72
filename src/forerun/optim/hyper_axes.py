"""Axes of a plane of hyperparameters, and the runs that begin at its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

__all__ = ["HyperAxis", "begin_runs"]


@dataclass(frozen=True)
class HyperAxis:
    """One hyperparameter over a range.

    Attributes:
        low: end of the range.
        high: the other end, above.
        changes: "rate", the decimal logarithm of a learning rate, or "mean", a number that is added to the beginning.
        tensors: indices of the parameters that it is for.
    """

    low: float
    high: float
    changes: Literal["rate", "mean"] = "rate"
    tensors: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not -float("inf") < self.low < self.high < float("inf"):
            raise ValueError(f"a range goes from a number up to a larger one, got {self.low} to {self.high}")
        if self.changes not in ("rate", "mean"):
            raise ValueError(f"an axis changes a 'rate' or a 'mean', got {self.changes!r}")

    def divide_range(self, count: int) -> Tensor:
        """Return values from one end to the other, float64 `(count,)`."""
        return torch.linspace(self.low, self.high, count, dtype=torch.float64)

    def narrow_range(self, center: float, factor: float) -> HyperAxis:
        """Return the axis around a value, so many times as short."""
        reach = (self.high - self.low) / factor / 2
        return replace(self, low=center - reach, high=center + reach)


def begin_runs(
    start: Sequence[Tensor],
    axes: tuple[HyperAxis, HyperAxis],
    points: Tensor,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the first parameters of runs at some points `(N, 2)`, and the rates of every tensor, `(N, 1, ...)`."""
    parameters = [tensor.detach().expand(len(points), *tensor.shape).clone() for tensor in start]
    rates = [tensor.new_zeros(len(points), *(1 for _ in tensor.shape)) for tensor in start]
    for axis, values in zip(axes, points.T, strict=True):
        for k in axis.tensors:
            column = values.to(start[k]).reshape(rates[k].shape)
            if axis.changes == "rate":
                rates[k] = 10.0**column
            else:
                parameters[k] = parameters[k] + column
    return parameters, rates
