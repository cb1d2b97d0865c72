"""Sweeps by native kernels: outputs corrected by slopes and advanced in closed form, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.native.scans import NATIVE_COLUMNS, SlopePlan, read_array

CALLS_OF_SWEEP: Final = 120  # of torch, that a sweep over some hundred steps or more takes


class NativeSweep(NamedTuple):
    """What a sweep over `W` steps gives.

    Attributes:
        inputs: `x`, `(W + 1, *batch, D)`.
        outputs: as corrected by their slopes, `(W, *batch, D)`.
        moves: `x_i - u_i`, `(W, *batch, D)`.
    """

    inputs: Tensor
    outputs: Tensor
    moves: Tensor


def sweep_natively(
    factors: tuple[Tensor, Tensor],
    shift: Tensor | None,
    first: Tensor,
    *,
    outputs: Tensor,
    slopes: Tensor | None,
    evaluated_inputs: Tensor,
) -> NativeSweep | None:
    """Return the sweep `x_{i+1} = a_i x_i + b_i (o_i + S_i (x_i - u_i)) + c_i`; None where torch shall compute it.

    Args:
        factors: `a` and `b`, one number a step each.
        shift: `c`, `(W, *batch, D)`; None for zero.
        first: `x_0`, `(*batch, D)`.
        outputs: `o`, `(W, *batch, D)`.
        slopes: `S`, scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, D, D)`; None for zero.
        evaluated_inputs: `u`, `(W, *batch, D)`.
    """
    length = len(outputs)
    if not 0 < first.numel() <= NATIVE_COLUMNS or length < 2 or outputs.shape[1:] != first.shape:
        return None
    optional = [tensor for tensor in (shift, slopes) if tensor is not None]
    kernels = _find_kernels([*factors, first, outputs, evaluated_inputs, *optional])
    plan = _plan_slopes(slopes, outputs)
    if kernels is None or plan is None:
        return None
    inputs = outputs.new_empty((length + 1, *first.shape))
    inputs[0] = first
    corrected, moves = torch.empty_like(inputs[1:]), torch.empty_like(inputs[1:])

    def read_rows(rows: Tensor) -> Any:
        return read_array(rows.reshape(len(rows), *plan.row_shape))

    getattr(kernels, f"sweep_{plan.name}")(
        (read_array(torch.stack([factor.reshape(length) for factor in factors])), read_rows(_or_empty(shift, outputs))),
        (read_rows(outputs), plan.read_slopes(), read_rows(evaluated_inputs)),
        (read_rows(inputs), read_rows(corrected), read_rows(moves)),
    )
    return NativeSweep(inputs, corrected, moves)


def _find_kernels(tensors: Sequence[Tensor]) -> ModuleType | None:
    """Return the kernels where they read tensors of one dtype like these."""
    if len({tensor.dtype for tensor in tensors}) > 1:
        return None
    return NATIVE_KERNELS.find_kernels(tensors, min(len(tensors[-1]), CALLS_OF_SWEEP))


def _plan_slopes(slopes: Tensor | None, outputs: Tensor) -> SlopePlan | None:
    """Return how a kernel reads the slopes; transposed ones are rare, and copied."""
    plan = SlopePlan.from_slopes(slopes, outputs)
    if slopes is None or plan is None or plan.name != "transposed":
        return plan
    return SlopePlan.from_slopes(slopes.contiguous(), outputs)


def _or_empty(rows: Tensor | None, like: Tensor) -> Tensor:
    """Return the rows; of None, rows like these of no step."""
    if rows is None:
        return like[:0]
    return rows
