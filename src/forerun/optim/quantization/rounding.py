"""Rounding: from weights to integers of a grid; the interface, and round to nearest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from forerun.optim.quantization.integer_grid import IntegerGrid


class Rounding(ABC):
    """A rule that turns the weights of a layer into integers."""

    @abstractmethod
    def choose_integers(self, weights: Tensor, gram: Tensor, grid: IntegerGrid) -> tuple[Tensor, IntegerGrid]:
        """Return integers, as floats shaped like the weights, and the grid that they are meant on.

        Args:
            weights: `(groups, rows, columns)`.
            gram: X^T X of the layer's inputs on calibration data, `(groups, columns, columns)`.
            grid: to begin with; a rule may change its steps.
        """


@dataclass(frozen=True)
class RoundToNearest(Rounding):
    """Every weight becomes the nearest value of the grid, whatever its inputs are."""

    def choose_integers(self, weights: Tensor, gram: Tensor, grid: IntegerGrid) -> tuple[Tensor, IntegerGrid]:
        return grid.nearest(weights), grid


def relative_error(weights: Tensor, values: Tensor, gram: Tensor) -> float:
    """Return how far a layer's outputs are from those of its weights: |X (w - v)| / |X w| over all rows.

    Zero where the calibration data give no output at all.
    """
    difference = weights - values
    error = ((difference @ gram) * difference).sum().clamp_min(0)
    size = ((weights @ gram) * weights).sum()
    return float((error / size).sqrt()) if size > 0 else 0.0
