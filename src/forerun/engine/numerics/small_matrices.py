"""Products of many small matrices, element by element: a matrix product so small costs more than its numbers."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

# Measured on a CPU with one thread: benchmarks/results/scan_is_faster_than_the_loop.md
SMALL_WIDTH: Final = 4  # dense maps up to this width are multiplied element by element on a CPU,
MANY_SLOPES: Final = 2**18  # where there are as many slopes


def prefers_elements(width: int, slopes: int, device: torch.device) -> bool:
    """Whether dense maps of this width, of so many slopes, are multiplied element by element.

    Products are fastest after `put_elements_first`.
    """
    return 1 < width <= SMALL_WIDTH and slopes >= MANY_SLOPES and device.type == "cpu"


def multiply_by_element(
    slope: Tensor,
    rows: Tensor,
    plus: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return `A X + B` of matrices `(*, D, D)` and `(*, D, K)`, computed a column of `A` at a time."""
    for column, row in zip(slope.split(1, -1), rows.split(1, -2), strict=True):
        if plus is None:
            plus = column * row
        else:
            plus = torch.addcmul(plus, column, row, out=out)
    assert plus is not None, "a state has an element at least"
    return plus


def put_elements_first(rows: Tensor, axes: int = 1) -> Tensor:
    """Return the same rows `(T, *batch, D)` or matrices, with their last axes outermost in memory."""
    last = tuple(range(-axes, 0))
    first = tuple(range(axes))
    return rows.movedim(last, first).contiguous().movedim(first, last)
