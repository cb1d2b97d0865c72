"""Prefix scan of affine maps: a whole path `x_{i+1} = A_i x_i + b_i` in a few operations, without a loop over steps.

The path is cut into chunks (`chunked_sweep.py`). A first sweep, over the position in the chunk and all chunks
together, composes the maps of each chunk: `(P, q) <- (A_i P, A_i q + b_i)`. The composed maps are an affine iteration
again, shorter by the chunk size; its path, computed the same way, holds the ends of the chunks. A second sweep fills
the chunks from these ends. Blelloch, "Prefix sums and their applications" (1990), section 1.4, as a tree of wide
nodes. Nothing is divided and no logarithm taken, so growing maps (`|A| > 1`) lose no more than roundings times the
slopes after them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.chunked_sweep import scan_in_chunks
from forerun.engine.numerics.native.scans import scan_natively
from forerun.engine.numerics.prefix_products import (
    prefers_products,
    scan_by_products,
)
from forerun.engine.numerics.scan_arguments import check_scan_arguments


def affine_scan(
    slopes: Tensor,
    shifts: Tensor,
    start: Tensor,
    *,
    reverse: bool = False,
    differentiable: bool = True,
) -> Tensor:
    """Return the path `x_1 .. x_T` of `x_{i+1} = A_i x_i + b_i`, i = 0 .. T-1, from `x_0 = start`.

    With `reverse=True` it runs from the end: `y_i = A_i y_{i+1} + b_i`, i = T-1 .. 0, from `y_T = start`, and returns
    `y_0 .. y_{T-1}`. (The adjoint of a forward scan is a reverse one whose slopes are transposed and one step later.)

    Differentiable any number of times in reverse mode, each time by one scan in the other direction. Works under
    `torch.func.vmap` and `torch.compile(fullgraph=True)`. Memory O(size of the arguments).

    Args:
        slopes: `A`. With as many axes as `shifts`, pointwise and broadcast against them: `(T, *batch, D)` diagonal,
            `(T, *batch, 1)` one scalar per sample, `(T, 1, .., 1)` one scalar. With one axis more, dense:
            `(T, *batch, D, D)`, batch axes broadcast.
        shifts: `b`, `(T, *batch, D)`.
        start: `(*batch, D)`.
        reverse: run from the end.
        differentiable: False leaves out what derivatives and `vmap` need, half the time of a short scan.

    Returns:
        `(T, *batch, D)` in the dtype of the arguments; float16 and bfloat16 are accumulated in float32.
        Where the product of the slopes over some steps overflows, entries can be inf or nan although the loop's are
        finite; but a state of exact zeros stays zero until a shift moves it, as in the loop.

    Raises:
        TypeError: the arguments are not of one real floating dtype.
        ValueError: their shapes or devices do not fit.
    """
    check_scan_arguments(slopes, shifts, start)
    dtype = shifts.dtype
    if dtype in {torch.float16, torch.bfloat16}:
        slopes, shifts, start = slopes.float(), shifts.float(), start.float()
    if differentiable:
        path = _apply_scan(slopes, shifts, start, reverse)
    else:
        path = _AffineScan.forward(slopes, shifts, start, reverse)
    return path.to(dtype)


class _AffineScan(torch.autograd.Function):
    """The scan as a function that autograd knows: its gradient is a scan in the other direction."""

    @staticmethod
    def forward(
        slopes: Tensor,
        shifts: Tensor,
        start: Tensor,
        reverse: bool,
    ) -> Tensor:
        native_path = scan_natively(slopes, shifts, start, reverse=reverse)
        if native_path is not None:
            return native_path
        if not reverse and prefers_products(slopes, shifts):
            path = scan_by_products(slopes, shifts, start)
            if math.isfinite(path.sum()):  # a row that is not finite spoils those before it here
                return path
        return scan_in_chunks(slopes, shifts, start, reverse=reverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        slopes, _, start, ctx.reverse = inputs
        ctx.save_for_backward(slopes, start, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        slopes, start, path = ctx.saved_tensors
        (grad,) = grads
        if not len(path):
            return torch.zeros_like(slopes), grad, torch.zeros_like(start), None
        dense = slopes.dim() > path.dim()
        adjoint = slopes.mT if dense else slopes
        if ctx.reverse:  # l_0 = g_0, l_i = A_{i-1}^T l_{i-1} + g_i
            costates = torch.cat((grad[:1], affine_scan(adjoint[:-1], grad[1:], grad[0])))
            states = torch.cat((path[1:], start[None]))
            first = -1
        else:  # l_T = g_T, l_i = A_i^T l_{i+1} + g_i
            costates = torch.cat(
                (
                    affine_scan(adjoint[1:], grad[:-1], grad[-1], reverse=True),
                    grad[-1:],
                )
            )
            states = torch.cat((start[None], path[:-1]))
            first = 0
        start_grad = _multiply_slope(adjoint[first], costates[first], dense=dense)
        if not ctx.needs_input_grad[0]:
            return None, costates, start_grad, None
        if dense:
            slope_grads = costates.unsqueeze(-1) * states.unsqueeze(-2)
        else:
            slope_grads = costates * states
        return slope_grads.sum_to_size(slopes.shape), costates, start_grad, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        """Make the mapped axis the first batch axis: a scan takes any number of them."""
        slopes, shifts, start, reverse = inputs
        slopes_axis, shifts_axis, start_axis, _ = in_dims
        if slopes_axis is None:
            slopes = slopes.unsqueeze(1)
        else:
            slopes = slopes.movedim(slopes_axis, 1)
        shifts = _lead_with_axis(shifts, shifts_axis, info.batch_size).movedim(0, 1)
        start = _lead_with_axis(start, start_axis, info.batch_size)
        return _apply_scan(slopes, shifts, start, reverse), 1


_apply_scan: Callable[..., Tensor] = _AffineScan.apply  # torch leaves it untyped


def _multiply_slope(slope: Tensor, state: Tensor, *, dense: bool) -> Tensor:
    """Return `A x` of one step."""
    if dense:
        return (slope @ state.unsqueeze(-1)).squeeze(-1)
    return slope * state


def _lead_with_axis(tensor: Tensor, axis: int | None, size: int) -> Tensor:
    """Return a tensor with the axis in front; where it has none, repeated along a new one."""
    if axis is None:
        return tensor.expand(size, *tensor.shape)
    return tensor.movedim(axis, 0)
