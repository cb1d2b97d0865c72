"""Rounds in closed form by native kernels: secants, sweeps with one slope a sample, and paths of given outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.native.sweeps import NativeSweep

CALLS_OF_ROWS: Final = 12  # of torch, that one of these kernels replaces
DTYPE_NAMES: Final = {torch.float32: "float32", torch.float64: "float64"}


def fit_secants(
    inputs: Tensor, outputs: Tensor, older_inputs: Tensor, older_outputs: Tensor, *, bound: float
) -> Tensor | None:
    """Return the slopes `(W, *batch, 1)` that explain changes of rows best; None where torch shall compute them.

    Args:
        inputs: `(W, *batch, D)`.
        outputs: likewise.
        older_inputs: those of the evaluation before.
        older_outputs: likewise.
        bound: a larger slope is 0, and one that is not a number.
    """
    kernel = _find_kernel("fit_secants", (inputs, outputs, older_inputs, older_outputs))
    if kernel is None or not inputs.numel() or inputs.shape != outputs.shape:
        return None
    slopes = inputs.new_empty((*inputs.shape[:-1], 1))
    kernel(
        inputs.data_ptr(),
        outputs.data_ptr(),
        older_inputs.data_ptr(),
        older_outputs.data_ptr(),
        slopes.data_ptr(),
        slopes.numel(),
        inputs.shape[-1],
        bound,
    )
    return slopes


def sweep_rows(
    factors: tuple[Tensor, Tensor],
    shift: Tensor | None,
    first: Tensor,
    *,
    outputs: Tensor,
    slopes: Tensor,
    evaluated_inputs: Tensor,
) -> NativeSweep | None:
    """Return the sweep with one slope a sample; None where torch shall compute it, or another kernel.

    Args:
        factors: `a` and `b`, one number a step each.
        shift: `c`, `(W, *batch, D)`; None for zero.
        first: `x_0`, `(*batch, D)`.
        outputs: `o`, `(W, *batch, D)`.
        slopes: `s`, `(W, *batch, 1)`.
        evaluated_inputs: `u`, `(W, *batch, D)`.
    """
    length, width = outputs.shape[0], outputs.shape[-1]
    if not outputs.numel() or slopes.shape != (*outputs.shape[:-1], 1) or outputs.shape[1:] != first.shape:
        return None
    shifts = outputs if shift is None else shift
    kernel = _find_kernel("sweep_rows", (*factors, first, outputs, slopes, evaluated_inputs, shifts))
    if kernel is None:
        return None
    inputs = outputs.new_empty((length + 1, *first.shape))
    corrected, moves = torch.empty_like(outputs), torch.empty_like(outputs)
    kernel(
        factors[0].data_ptr(),
        factors[1].data_ptr(),
        shifts.data_ptr(),
        first.data_ptr(),
        outputs.data_ptr(),
        slopes.data_ptr(),
        evaluated_inputs.data_ptr(),
        inputs.data_ptr(),
        corrected.data_ptr(),
        moves.data_ptr(),
        length,
        slopes.numel() // length,
        width,
        shift is not None,
    )
    return NativeSweep(inputs, corrected, moves)


def advance_rows(factors: tuple[Tensor, Tensor], shift: Tensor | None, first: Tensor, outputs: Tensor) -> Tensor | None:
    """Return the path `x_{i+1} = a_i x_i + b_i o_i + c_i`, `(W + 1, *batch, D)`; None where torch shall compute it.

    Args:
        factors: `a` and `b`, one number a step each.
        shift: `c`, `(W, *batch, D)`; None for zero.
        first: `x_0`, `(*batch, D)`.
        outputs: `o`, `(W, *batch, D)`; one of them may be expanded to all steps.
    """
    length = factors[0].shape[0]
    if not outputs.numel() or outputs.shape[1:] != first.shape:
        return None
    is_held = outputs.stride(0) == 0
    if is_held:
        outputs = outputs[:1]
    shifts = outputs if shift is None else shift
    kernel = _find_kernel("advance_rows", (*factors, first, outputs, shifts))
    if kernel is None:
        return None
    inputs = outputs.new_empty((length + 1, *first.shape))
    kernel(
        factors[0].data_ptr(),
        factors[1].data_ptr(),
        shifts.data_ptr(),
        first.data_ptr(),
        outputs.data_ptr(),
        inputs.data_ptr(),
        length,
        first.numel(),
        shift is not None,
        is_held,
    )
    return inputs


def _find_kernel(name: str, tensors: Sequence[Tensor]) -> Callable[..., None] | None:
    """Return a kernel where it reads these tensors, all of one dtype and contiguous; None elsewhere."""
    dtype = tensors[0].dtype
    for tensor in tensors:
        if tensor.dtype != dtype or not tensor.is_contiguous():
            return None
    kernels = NATIVE_KERNELS.find_kernels(tensors, CALLS_OF_ROWS)
    if kernels is None:
        return None
    kernel: Callable[..., None] = kernels.load_row_kernel(name, DTYPE_NAMES[dtype])
    return kernel
