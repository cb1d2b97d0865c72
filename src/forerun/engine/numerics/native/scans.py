"""Affine scans by native kernels: how slopes lie in memory, and which kernel reads them so."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from forerun.engine.numerics.native.loader import NATIVE_KERNELS

CALLS_OF_SCAN: Final = 100  # of torch, that a scan over some hundred steps or more takes; a shorter one, one a step
NATIVE_COLUMNS: Final = 4096  # of a step: wider rows are bound by memory, and torch uses all processors for them


@dataclass(frozen=True)
class SlopePlan:
    """Slopes as a kernel reads them.

    Attributes:
        name: of the kernel, after `scan_` or `sweep_`.
        slopes: the same numbers, in the shape that it reads.
        row_shape: in which it reads the other rows, `(T, *row_shape)`.
    """

    name: str
    slopes: Tensor
    row_shape: tuple[int, ...]

    @classmethod
    def from_slopes(cls, slopes: Tensor | None, rows: Tensor) -> SlopePlan | None:
        """Return how a kernel reads the slopes of rows `(T, *batch, D)`; None where none of them does."""
        length, columns = len(rows), prod(rows.shape[1:])
        if slopes is None:
            return cls("pointwise", rows[:0].reshape(0, columns), (columns,))
        if slopes.dim() > rows.dim():
            return cls._from_matrices(slopes, rows)
        if slopes.shape == rows.shape:
            return cls("pointwise", slopes.reshape(length, columns), (columns,))
        if slopes.numel() == length:
            return cls("grouped", slopes.reshape(length, 1), (1, columns))
        if slopes.shape[:-1] == rows.shape[:-1]:
            return cls("grouped", slopes.reshape(length, -1), (columns // rows.shape[-1], rows.shape[-1]))
        return None

    @classmethod
    def _from_matrices(cls, slopes: Tensor, rows: Tensor) -> SlopePlan | None:
        """Return how a kernel reads matrices `(T, *batch, D, D)`, also where these are transposed or lie apart."""
        width = rows.shape[-1]
        if slopes.shape[:-2] != rows.shape[:-1]:
            return None
        row_shape = (prod(rows.shape[1:-1]), width)
        shape = (len(rows), *row_shape, width)
        if not slopes.is_contiguous():
            elements = slopes.movedim((-2, -1), (0, 1))
            if elements.is_contiguous():  # read where they lie
                matrices = elements.reshape(width, width, *shape[:2]).movedim((0, 1), (-2, -1))
                return cls("dense", matrices, row_shape)
            if slopes.mT.is_contiguous():
                return cls("transposed", slopes.mT.reshape(shape), row_shape)
        return cls("dense", slopes.reshape(shape).contiguous(), row_shape)

    def read_slopes(self) -> Any:
        """Return the slopes as an array of numpy; matrices as they lie, without a copy."""
        if self.name == "dense":
            return self.slopes.detach().numpy()
        return read_array(self.slopes)


def scan_natively(
    slopes: Tensor,
    shifts: Tensor,
    start: Tensor,
    *,
    reverse: bool,
) -> Tensor | None:
    """Return the path of `x_{i+1} = A_i x_i + b_i` from `start`; None where torch shall compute it."""
    if not 0 < start.numel() <= NATIVE_COLUMNS or len(shifts) < 2:
        return None
    kernels = NATIVE_KERNELS.find_kernels((slopes, shifts, start), min(len(shifts), CALLS_OF_SCAN))
    if kernels is None:
        return None
    plan = SlopePlan.from_slopes(slopes, shifts)
    if plan is None:
        return None
    rows_shape = (len(shifts), *plan.row_shape)
    path = torch.empty(shifts.shape, dtype=shifts.dtype)
    getattr(kernels, f"scan_{plan.name}")(
        (
            plan.read_slopes(),
            read_array(shifts.reshape(rows_shape)),
            read_array(start.reshape(plan.row_shape)),
        ),
        path.view(rows_shape).numpy(),
        reverse,
    )
    return path


def read_array(tensor: Tensor) -> Any:
    """Return the numbers of a tensor as a contiguous array of numpy, without a copy where they lie so."""
    return tensor.detach().contiguous().numpy()
