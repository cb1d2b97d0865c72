"""The check's walk by native kernels: changes of evaluations, the Jacobians that they show, and growing distances."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.native.row_calls import CALLS_OF_ROWS, find_row_kernel


def subtract_older(rows: Tensor, newer: Tensor, older: Tensor) -> Tensor | None:
    """Return the differences of steps' evaluations, `(n, *batch, K, D)`, the oldest first; None where torch shall.

    Args:
        rows: all evaluations, one under the other, `(M, *batch, D)`.
        newer: their places for each step, the newest first, int64 `(n, K)`.
        older: those of the evaluations before them; negative where there is none, and the difference zero.
    """
    kernel = find_row_kernel("subtract_older", (rows,)) if rows.numel() and newer.numel() else None
    if kernel is None:
        return None
    (length, count), width = newer.shape, rows.shape[-1]
    changes = rows.new_empty((length, *rows.shape[1:-1], count, width))
    newer, older = newer.contiguous(), older.contiguous()
    addresses = [tensor.data_ptr() for tensor in (rows, changes, newer, older)]
    kernel(
        *addresses,
        length,
        len(rows),
        rows[0].numel() // width,
        count,
        width,
    )
    return changes


def update_bases(changes: Tensor, output_changes: Tensor, base: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Return the directions `w` and `p`, `(n, *batch, K, D)`, that changes add to bases; None where torch shall.

    Args:
        changes: `du`, `(n, *batch, K, D)`, in turn.
        output_changes: `do`, likewise.
        base: one number a sample, `(n, *batch, 1)`, or an element, `(n, *batch, D)`; None for zero.
    """
    length, (count, width) = changes.shape[0], changes.shape[-2:]
    if not changes.numel() or changes.shape != output_changes.shape:
        return None
    if base is None:
        base = changes[..., 0, :0]
    if base.shape[:-1] != changes.shape[:-2] or (base.shape[-1] > 1 and base.shape[-1] != width):
        return None
    tensors = [tensor.contiguous() for tensor in (changes, output_changes, base)]
    kernel = find_row_kernel("update_bases", tensors, count * CALLS_OF_ROWS)
    if kernel is None:
        return None
    left, right = torch.empty_like(tensors[0]), torch.empty_like(tensors[0])
    addresses = [tensor.data_ptr() for tensor in (*tensors, left, right)]
    kernel(
        *addresses,
        length,
        changes.numel() // (length * count * width),
        count,
        width,
        base.shape[-1],
    )
    return left, right


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
    kernel = find_row_kernel("grow_distances", tensors, length * CALLS_OF_ROWS)
    if kernel is None:
        return None
    distances = torch.empty_like(tensors[3])
    samples = sources.numel() // (length * width)
    addresses = [tensor.data_ptr() for tensor in (*tensors, distances)]
    kernel(
        *addresses,
        length,
        samples,
        right.shape[-2],
        width,
        propagators.shape[-1] == 1,
    )
    return distances


def carry_matrices(
    changes: Tensor,
    output_changes: Tensor,
    directions: Tensor,
    first: Tensor,
) -> Tensor | None:
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
    kernel = find_row_kernel("carry_matrices", tensors, length * CALLS_OF_ROWS)
    if kernel is None:
        return None
    matrices = first.new_empty((length, *first.shape))
    samples = changes.numel() // (length * count * width)
    addresses = [tensor.data_ptr() for tensor in (*tensors, matrices)]
    kernel(
        *addresses,
        length,
        samples,
        count,
        width,
        height,
    )
    return matrices
