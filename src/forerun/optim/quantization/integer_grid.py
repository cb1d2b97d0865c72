"""The grid of values that quantised weights may take: evenly spaced, for every row of a layer or for all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class IntegerGrid:
    """Values `step * n` for integers `start <= n < start + 2**bits`.

    Weights are matrices `(groups, rows, columns)`: an output channel is a row, and a convolution has groups.

    Attributes:
        step: distance of neighbours, `(groups, rows, 1)`, or `(1, 1, 1)` where the whole layer shares it.
        start: the smallest integer, of the same shape and dtype.
        bits: of an integer.
    """

    step: Tensor
    start: Tensor
    bits: int

    @classmethod
    def spanning(cls, weights: Tensor, bits: int, *, per_row: bool) -> IntegerGrid:
        """Return the grid from the smallest weight to the largest, of each row or of all rows together.

        A row whose weights are all alike gets a grid that holds them exactly.
        """
        dims = (2,) if per_row else (0, 1, 2)
        low, high = weights.amin(dims, keepdim=True), weights.amax(dims, keepdim=True)
        step = (high - low) / (2**bits - 1)
        size = torch.where(high == 0, torch.ones_like(high), high.abs())
        # a range that vanishes beside its place would ask for integers that no float holds
        is_flat = step <= size * torch.finfo(step.dtype).eps
        step = torch.where(is_flat, size, step)
        return cls(step, (low / step).round(), bits)

    @property
    def last(self) -> Tensor:
        """The largest integer."""
        largest: Tensor = self.start + (2**self.bits - 1)
        return largest

    def nearest(self, values: Tensor) -> Tensor:
        """Return the integers whose values are nearest, as floats."""
        return torch.minimum(torch.maximum((values / self.step).round(), self.start), self.last)

    def round_values(self, values: Tensor) -> Tensor:
        """Return the nearest values of the grid."""
        return self.nearest(values) * self.step

    def fit_step(self, integers: Tensor, weights: Tensor, gram: Tensor) -> IntegerGrid:
        """Return the grid whose step is best for some integers: least squares on the outputs.

            step = <X q, X w> / |X q|^2

        The integers stay, so outputs come no further from those of the weights.

        Args:
            integers: `(groups, rows, columns)`.
            weights: that they stand for.
            gram: X^T X of the inputs, `(groups, columns, columns)`.
        """
        images = integers @ gram
        product, square = (images * weights).sum(-1, keepdim=True), (images * integers).sum(-1, keepdim=True)
        if self.step.numel() == 1:
            product, square = product.sum().reshape(1, 1, 1), square.sum().reshape(1, 1, 1)
        step = product / square
        is_usable = torch.isfinite(step) & (step > 0)
        return replace(self, step=torch.where(is_usable, step, self.step))
