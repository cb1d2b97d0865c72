"""Products of many small matrices, element by element: a matrix product so small costs more than its numbers."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

NARROW: Final = 4  # dense maps up to this width are multiplied element by element on a CPU,
MANY: Final = 2**18  # where there are as many slopes: a product so small costs more than its numbers


def multiply_by_element(slope: Tensor, rows: Tensor, plus: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """`A X + B` of matrices `(*, D, D)` and `(*, D, K)`, a column of `A` at a time."""
    for column, row in zip(slope.split(1, -1), rows.split(1, -2), strict=True):
        plus = column * row if plus is None else torch.addcmul(plus, column, row, out=out)
    assert plus is not None, "a state has an element at least"
    return plus


def prefers_elements(width: int, slopes: int, device: torch.device) -> bool:
    """Whether dense maps of this width, of so many slopes, are multiplied element by element: best `elements_first`."""
    return 1 < width <= NARROW and slopes >= MANY and device.type == "cpu"


def put_elements_first(rows: Tensor, axes: int = 1) -> Tensor:
    """The same rows `(T, *batch, D)` or matrices, with their last axes outermost in memory."""
    last, first = tuple(range(-axes, 0)), tuple(range(axes))
    return rows.movedim(last, first).contiguous().movedim(first, last)
