"""Prefix scan of affine maps: a whole path `x_{i+1} = A_i x_i + b_i` in a few operations, without a loop over steps.

The path is cut into chunks. A first sweep, over the position in the chunk and all chunks together, composes the
maps of each chunk: `(P, q) <- (A_i P, A_i q + b_i)`. The composed maps are an affine iteration again, shorter by the
chunk size; its path, found the same way, holds the ends of the chunks. A second sweep fills the chunks from these
ends. Blelloch, "Prefix sums and their applications" (1990), section 1.4, as a tree of wide nodes. Nothing is divided
and no logarithm taken, so growing maps (`|A| > 1`) lose no more than roundings times the slopes behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from forerun.engine.numerics.small_matrices import multiply_by_element, prefers_elements, put_elements_first
from forerun.engine.numerics.tree import describe_tree

# Measured on a CPU with one thread: benchmarks/results/scan_is_faster_than_the_loop.md
SHORT: Final = 24  # paths up to this length are swept in order
CHUNK: Final = (10, 32)  # bounds of the chunk size: 10 needs the fewest calls, 32 the fewest passes over memory
STAGE: Final = 2**16  # elements of a sweep that stay in the cache; where they would not, chunks get longer
WIDE: Final = 2**13  # elements of one step from which the in-order sweep is bound by memory and not by its calls
WIDE_DENSE: Final = 2**16  # the same for dense maps, in multiplications of one composition
MATRIX: Final = 3 * 2**12  # products of slopes that are worth writing out: the path of few short rows is one product


def affine_scan(
    slopes: Tensor, shifts: Tensor, start: Tensor, *, reverse: bool = False, differentiable: bool = True
) -> Tensor:
    """The path of `x_{i+1} = A_i x_i + b_i`, i = 0 .. T-1, from `x_0 = start`: returns `x_1 .. x_T`.

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
        Where the product of the slopes over a stretch overflows, entries can be inf or nan although the loop's are
        finite; but a state of exact zeros stays zero until a shift moves it, as in the loop.

    Raises:
        TypeError: the arguments are not of one real floating dtype.
        ValueError: their shapes or devices do not fit.
    """
    _check(slopes, shifts, start)
    dtype = shifts.dtype
    if dtype in {torch.float16, torch.bfloat16}:
        slopes, shifts, start = slopes.float(), shifts.float(), start.float()
    path = _apply if differentiable else _Scan.forward
    return path(slopes, shifts, start, reverse).to(dtype)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(slopes: Tensor, shifts: Tensor, start: Tensor, reverse: bool) -> Tensor:
        if not reverse and _fits_matrix(slopes, shifts):
            path = _by_matrix(slopes, shifts, start)
            if math.isfinite(path.sum()):  # a row that is not finite spoils those before it here
                return path
        dense = slopes.dim() > shifts.dim()
        if dense and slopes.shape[-1] == 1:
            slopes, dense = slopes.squeeze(-1), False
        tiny = dense and prefers_elements(slopes.shape[-1], slopes.numel(), slopes.device)
        if tiny and slopes.stride(-1) == 1:
            slopes = put_elements_first(slopes, 2)
        out = torch.empty_like(shifts, memory_format=torch.contiguous_format)
        out = put_elements_first(out) if tiny else out
        maps = _Maps(dense=dense, tiny=tiny, reverse=reverse)
        b, x, y = (t.unsqueeze(-1) if maps.dense else t for t in (shifts, start, out))
        if out.numel():
            _sweep(maps, (slopes, b), x, y)
        return out

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
            costate = torch.cat((grad[:1], affine_scan(adjoint[:-1], grad[1:], grad[0])))
            before, first = torch.cat((path[1:], start[None])), -1
        else:  # l_T = g_T, l_i = A_i^T l_{i+1} + g_i
            costate = torch.cat((affine_scan(adjoint[1:], grad[:-1], grad[-1], reverse=True), grad[-1:]))
            before, first = torch.cat((start[None], path[:-1])), 0
        slope, last = adjoint[first], costate[first]
        for_start = (slope @ last.unsqueeze(-1)).squeeze(-1) if dense else slope * last
        if not ctx.needs_input_grad[0]:
            return None, costate, for_start, None
        products = costate.unsqueeze(-1) * before.unsqueeze(-2) if dense else costate * before
        return products.sum_to_size(slopes.shape), costate, for_start, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        """The mapped axis becomes the first batch axis: `scan` takes any number of them."""
        (slopes, shifts, start, reverse), (a, b, x, _), size = inputs, in_dims, info.batch_size
        slopes = slopes.unsqueeze(1) if a is None else slopes.movedim(a, 1)
        shifts = shifts.expand(size, *shifts.shape).movedim(0, 1) if b is None else shifts.movedim(b, 1)
        start = start.expand(size, *start.shape) if x is None else start.movedim(x, 0)
        return _apply(slopes, shifts, start, reverse), 1


_apply: Callable[..., Tensor] = _Scan.apply  # torch leaves it untyped


@dataclass(frozen=True)
class _Maps:
    """How the maps of a path are applied, composed and ordered."""

    dense: bool
    tiny: bool
    reverse: bool
    composed: bool = False  # products of slopes: they may have overflowed

    def steps(self, rows: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
        """The slices of `rows` along `axis`, in the order of the path."""
        return rows.unbind(axis)[:: -1 if self.reverse else 1]

    def cut(self, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` steps of the path, and the others."""
        rest = len(rows) - length
        return (rows[rest:], rows[:rest]) if self.reverse else (rows[:length], rows[length:])

    def apply(self, slope: Tensor, state: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
        """`A x + b`; where `x` is zero just `b`, even if the product `A` has overflowed (inf * 0 is nan)."""
        if not self.dense:
            moved = torch.addcmul(shift, slope, state, out=out)
        elif self.tiny:
            moved = multiply_by_element(slope, state, shift, out)
        elif state.dim() == 3 and slope.shape[0] == state.shape[0]:
            moved = torch.baddbmm(shift, slope, state, out=out)
        else:
            moved = torch.add(shift, slope @ state, out=out)
        if not self.composed:
            return moved
        still = (state == 0).all(-2, keepdim=True) if self.dense else state == 0
        return torch.where(still, shift, moved, out=out)

    def multiply(self, slope: Tensor, product: Tensor) -> Tensor:
        """`A P`."""
        if not self.dense:
            return slope * product
        return multiply_by_element(slope, product) if self.tiny else slope @ product

    def chain(self, steps: Iterable[tuple[Tensor, Tensor, Tensor]], state: Tensor) -> None:
        """Write the states that follow `state` into the last entries of `steps`."""
        for slope, shift, out in steps:
            compiling = torch.compiler.is_compiling()  # dynamo takes no strided `out=`
            state = out.copy_(self.apply(slope, state, shift)) if compiling else self.apply(slope, state, shift, out)

    def compose(self, slopes: tuple[Tensor, ...], shifts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The maps one after another as one map."""
        product, offset = slopes[0], shifts[0]
        if not self.composed:  # the step from zero, written out: a slope of nan spoils it, as in the loop
            offset = self.apply(product, torch.zeros_like(offset), offset)
        for slope, shift in zip(slopes[1:], shifts[1:], strict=True):
            product = self.multiply(slope, product)
            offset = self.apply(slope, offset, shift)
        return product, offset


def _fits_matrix(slopes: Tensor, shifts: Tensor) -> bool:
    """Whether one scalar per sample acts, on so few samples and steps that calls cost more than their elements."""
    pointwise = slopes.dim() == shifts.dim() and slopes.shape[-1] == 1
    products = len(slopes) * slopes.numel()
    return pointwise and 1 < products <= MATRIX and slopes.device.type == "cpu" and not torch.compiler.is_compiling()


def _by_matrix(slopes: Tensor, shifts: Tensor, start: Tensor) -> Tensor:
    """`x_{i+1} = sum_j (A_i .. A_{j+1}) b_j + (A_i .. A_0) x_0` as one product of matrices."""
    length = len(shifts)
    below = _below(length)
    products = torch.where(below, slopes.movedim(0, -2), 1.0).cumprod(-2).tril(1)
    moved = products @ torch.cat([start.unsqueeze(0), shifts]).movedim(0, -2)
    return moved.movedim(-2, 0).contiguous()


@lru_cache(maxsize=64)
def _below(length: int) -> Tensor:
    """Which slopes act on which shift: `(length, length + 1)`, the first column for the start."""
    return torch.ones(length, length + 1, dtype=torch.bool).tril()


def _sweep(maps: _Maps, rows: tuple[Tensor, Tensor], start: Tensor, out: Tensor) -> None:
    """Write the path of the maps `rows = (slopes, shifts)` from `start` into `out`."""
    length = len(out)
    size = _chunk_size(maps.dense, length, start)
    if size >= length:
        return maps.chain(zip(*(maps.steps(r) for r in (*rows, out)), strict=True), start)
    chunks = length // size
    parts = [maps.cut(r, chunks * size) for r in (*rows, out)]
    slopes, shifts, filled = (maps.steps(r.unflatten(0, (chunks, size)), 1) for r, _ in parts)
    product, offset = maps.compose(slopes, shifts)
    ends = torch.empty_like(offset)
    _sweep(replace(maps, composed=True), (product, offset), start, ends)
    starts = torch.cat((ends[1:], start[None]) if maps.reverse else (start[None], ends[:-1]))
    filled[-1].copy_(ends)
    maps.chain(zip(slopes[:-1], shifts[:-1], filled[:-1], strict=True), starts)
    rest = zip(*(maps.steps(r) for _, r in parts), strict=True)
    return maps.chain(rest, ends[0 if maps.reverse else -1])


def _chunk_size(dense: bool, length: int, state: Tensor) -> int:
    """Steps in a chunk; all of them where a sweep in order is faster. Looks at shapes only."""
    width = state.numel()
    work, wide = (width * state.shape[-2] ** 2, WIDE_DENSE) if dense else (width, WIDE)
    # Elsewhere a call costs more than its elements, and a compiled sweep in order is a graph of `length` nodes.
    in_order = work >= wide and state.device.type == "cpu" and not torch.compiler.is_compiling()
    return length if length <= SHORT or in_order else min(max(length * width // STAGE, CHUNK[0]), CHUNK[1])


def _check(slopes: Tensor, shifts: Tensor, start: Tensor) -> None:
    def came() -> str:
        return "scan got slopes {}, shifts {}, start {}".format(*(f"{describe_tree(t)} on {t.device}" for t in tensors))

    tensors = (slopes, shifts, start)
    if any(t.dtype != shifts.dtype for t in tensors) or not shifts.is_floating_point():
        raise TypeError(f"{came()}: it computes in one real floating dtype; pass slopes.to(dtype), and so the others")
    if any(t.device != shifts.device for t in tensors):
        raise ValueError(f"{came()}: on several devices; pass slopes.to(shifts.device), start.to(shifts.device)")
    if shifts.dim() < 2 or start.shape != shifts.shape[1:]:
        raise ValueError(
            f"{came()}: shifts are (T, *batch, D) and start is one state, (*batch, D); for a path of plain numbers "
            "pass shifts.reshape(-1, 1), start.reshape(1); for one start of many samples start.expand(shifts.shape[1:])"
        )
    dense = slopes.dim() == shifts.dim() + 1
    full = (*shifts.shape, shifts.shape[-1]) if dense else tuple(shifts.shape)
    fixed = {0, len(full) - 2, len(full) - 1} if dense else {0}  # the axes that do not broadcast
    if slopes.dim() != len(full):
        raise ValueError(
            f"{came()}: pointwise slopes have as many axes as shifts, dense ones (T, *batch, D, D) one more; "
            "for one scalar a step pass slopes.reshape(-1, *[1] * start.dim())"
        )
    if any(n != m and (i in fixed or n != 1) for i, (n, m) in enumerate(zip(slopes.shape, full, strict=True))):
        raise ValueError(f"{came()}: slopes do not fit {list(full)}; pass slopes.expand({list(full)}), or fewer shifts")
