"""Rounds in closed form by native kernels: secants, sweeps with one slope a sample, and paths of given outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.native.row_calls import find_row_kernel
from forerun.engine.numerics.native.sweeps import NativeSweep
from forerun.engine.numerics.row_memory import RowMemory


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
    kernel = find_row_kernel("fit_secants", (inputs, outputs, older_inputs, older_outputs))
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


def measure_norms(rows: Tensor) -> Tensor | None:
    """Return the Euclidean norm of each row, `(..., 1)`, whose squares may underflow; None where torch shall."""
    kernel = None if not rows.numel() else find_row_kernel("measure_norms", (rows,))
    if kernel is None:
        return None
    norms = rows.new_empty((*rows.shape[:-1], 1))
    kernel(rows.data_ptr(), norms.data_ptr(), norms.numel(), rows.shape[-1], torch.finfo(rows.dtype).tiny)
    return norms


def fit_changes(changes: Tensor, output_changes: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return slopes `<do, du> / |du|^2`, `(..., 1)`, and what is above zero where `du` is; None where torch shall.

    Args:
        changes: `du`, `(..., D)`.
        output_changes: `do`, likewise.
    """
    if not changes.numel() or changes.shape != output_changes.shape:
        return None
    changes, output_changes = changes.contiguous(), output_changes.contiguous()
    kernel = find_row_kernel("fit_changes", (changes, output_changes))
    if kernel is None:
        return None
    slopes, squares = changes.new_empty((2, *changes.shape[:-1], 1))
    addresses = [tensor.data_ptr() for tensor in (changes, output_changes, slopes, squares)]
    kernel(*addresses, slopes.numel(), changes.shape[-1], torch.finfo(changes.dtype).tiny)
    return slopes, squares


def sweep_rows(
    factors: tuple[Tensor, Tensor],
    shift: Tensor | None,
    first: Tensor,
    *,
    outputs: Tensor,
    slopes: Tensor,
    evaluated_inputs: Tensor,
    memory: RowMemory,
) -> NativeSweep | None:
    """Return the sweep with one slope a sample; None where torch shall compute it, or another kernel.

    Args:
        factors: `a` and `b`, one number a step each.
        shift: `c`, `(W, *batch, D)`; None for zero.
        first: `x_0`, `(*batch, D)`.
        outputs: `o`, `(W, *batch, D)`.
        slopes: `s`, `(W, *batch, 1)`.
        evaluated_inputs: `u`, `(W, *batch, D)`.
        memory: where the rows are written.
    """
    length, width = outputs.shape[0], outputs.shape[-1]
    if not outputs.numel() or slopes.shape != (*outputs.shape[:-1], 1) or outputs.shape[1:] != first.shape:
        return None
    shifts = outputs if shift is None else shift
    kernel = find_row_kernel("sweep_rows", (*factors, first, outputs, slopes, evaluated_inputs, shifts))
    if kernel is None:
        return None
    inputs = memory.allocate((length + 1, *first.shape), outputs)
    corrected, moves = memory.allocate(outputs.shape, outputs), memory.allocate(outputs.shape, outputs)
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


def advance_rows(
    factors: tuple[Tensor, Tensor], shift: Tensor | None, first: Tensor, *, outputs: Tensor, memory: RowMemory
) -> Tensor | None:
    """Return the path `x_{i+1} = a_i x_i + b_i o_i + c_i`, `(W + 1, *batch, D)`; None where torch shall compute it.

    Args:
        factors: `a` and `b`, one number a step each.
        shift: `c`, `(W, *batch, D)`; None for zero.
        first: `x_0`, `(*batch, D)`.
        outputs: `o`, `(W, *batch, D)`; one of them may be expanded to all steps.
        memory: where the path is written.
    """
    length = factors[0].shape[0]
    if not outputs.numel() or outputs.shape[1:] != first.shape:
        return None
    is_held = outputs.stride(0) == 0
    if is_held:
        outputs = outputs[:1]
    shifts = outputs if shift is None else shift
    kernel = find_row_kernel("advance_rows", (*factors, first, outputs, shifts))
    if kernel is None:
        return None
    inputs = memory.allocate((length + 1, *first.shape), outputs)
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
