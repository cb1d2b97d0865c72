"""Rounds in closed form by native kernels: secants, sweeps with one slope a sample, and paths of given outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.native.sweeps import NativeSweep
from forerun.engine.numerics.row_memory import RowMemory

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


def measure_norms(rows: Tensor) -> Tensor | None:
    """Return the Euclidean norm of each row, `(..., 1)`, whose squares may underflow; None where torch shall."""
    kernel = None if not rows.numel() else _find_kernel("measure_norms", (rows,))
    if kernel is None:
        return None
    norms = rows.new_empty((*rows.shape[:-1], 1))
    kernel(rows.data_ptr(), norms.data_ptr(), norms.numel(), rows.shape[-1], torch.finfo(rows.dtype).tiny)
    return norms


def fit_changes(changes: Tensor, output_changes: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return slopes `<do, du> / |du|^2` `(..., 1)`, and the largest elements of `du` by size; None where torch shall.

    Args:
        changes: `du`, `(..., D)`.
        output_changes: `do`, likewise.
    """
    if not changes.numel() or changes.shape != output_changes.shape:
        return None
    changes, output_changes = changes.contiguous(), output_changes.contiguous()
    kernel = _find_kernel("fit_changes", (changes, output_changes))
    if kernel is None:
        return None
    slopes, sizes = changes.new_empty((2, *changes.shape[:-1], 1))
    addresses = [tensor.data_ptr() for tensor in (changes, output_changes, slopes, sizes)]
    kernel(*addresses, slopes.numel(), changes.shape[-1], torch.finfo(changes.dtype).tiny)
    return slopes, sizes


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
    kernel = _find_kernel("sweep_rows", (*factors, first, outputs, slopes, evaluated_inputs, shifts))
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
    kernel = _find_kernel("advance_rows", (*factors, first, outputs, shifts))
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


def grow_distances(
    propagators: Tensor, left: Tensor, right: Tensor, *, sources: Tensor, first: Tensor
) -> Tensor | None:
    """Return `d_{i+1} = A_i d_i + sum_k w_ik <p_ik, d_i> + s_i` from the first `d_0`; None where torch shall.

    Args:
        propagators: `A`, one number a sample, `(n, *batch, 1)`, or an element, `(n, *batch, D)`.
        left: `w`, `(n, *batch, K, D)`.
        right: `p`, likewise.
        sources: `s`, `(n, *batch, D)`.
        first: `d_0`, `(*batch, D)`.
    """
    length, width = sources.shape[0], sources.shape[-1]
    if not sources.numel() or propagators.shape[:-1] != sources.shape[:-1] or left.shape != right.shape:
        return None
    tensors = [tensor.contiguous() for tensor in (propagators, left, right, sources, first)]
    kernel = _find_kernel("grow_distances", tensors, length * CALLS_OF_ROWS)
    if kernel is None:
        return None
    distances = torch.empty_like(tensors[3])
    samples = sources.numel() // (length * width)
    addresses = [tensor.data_ptr() for tensor in (*tensors, distances)]
    kernel(*addresses, length, samples, right.shape[-2], width, propagators.shape[-1] == 1)
    return distances


def carry_matrices(changes: Tensor, output_changes: Tensor, directions: Tensor, first: Tensor) -> Tensor | None:
    """Return `J <- J + (do - J du) p^T`, as it stands after each step, `(n, *batch, E, D)`; None where torch shall.

    Args:
        changes: `du`, `(n, *batch, K, D)`, in turn.
        output_changes: `do`, `(n, *batch, K, E)`.
        directions: `p`, shaped like `du`.
        first: `J` before the first step, `(*batch, E, D)`.
    """
    length, (count, width), height = changes.shape[0], changes.shape[-2:], output_changes.shape[-1]
    if not changes.numel() or not output_changes.numel():
        return None
    tensors = [tensor.contiguous() for tensor in (changes, output_changes, directions, first)]
    kernel = _find_kernel("carry_matrices", tensors, length * CALLS_OF_ROWS)
    if kernel is None:
        return None
    matrices = first.new_empty((length, *first.shape))
    samples = changes.numel() // (length * count * width)
    addresses = [tensor.data_ptr() for tensor in (*tensors, matrices)]
    kernel(*addresses, length, samples, count, width, height)
    return matrices


def _find_kernel(name: str, tensors: Sequence[Tensor], saved_calls: int = CALLS_OF_ROWS) -> Callable[..., None] | None:
    """Return a kernel where it reads these tensors, all of one dtype and contiguous; None elsewhere."""
    dtype = tensors[0].dtype
    for tensor in tensors:
        if tensor.dtype != dtype or not tensor.is_contiguous():
            return None
    kernels = NATIVE_KERNELS.find_kernels(tensors, saved_calls)
    if kernels is None:
        return None
    kernel: Callable[..., None] = kernels.load_row_kernel(name, DTYPE_NAMES[dtype])
    return kernel
