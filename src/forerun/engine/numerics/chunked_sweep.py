"""The path of affine maps, cut into chunks that are composed together, then filled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.numerics.small_matrices import (
    multiply_by_element,
    prefers_elements,
    put_elements_first,
)

# Measured on a CPU with one thread: benchmarks/results/scan_is_faster_than_the_loop.md
SHORT_PATH: Final = 24  # paths up to this length are swept in order
SCAN_CHUNK_BOUNDS: Final = (10, 32)  # 10 steps need the fewest calls, 32 the fewest passes over memory
CACHED_ELEMENTS: Final = 2**16  # of a sweep that stay in the cache; where they would not, chunks get longer
IN_ORDER_ELEMENTS: Final = 2**13  # of one step, from which the in-order sweep is bound by memory and not by its calls
IN_ORDER_PRODUCTS: Final = 2**16  # the same for dense maps, in multiplications of one composition


def scan_in_chunks(
    slopes: Tensor,
    shifts: Tensor,
    start: Tensor,
    *,
    reverse: bool,
) -> Tensor:
    """Return the path of `x_{i+1} = A_i x_i + b_i` from `start`; see `affine_scan`."""
    dense = slopes.dim() > shifts.dim()
    if dense and slopes.shape[-1] == 1:
        slopes = slopes.squeeze(-1)
        dense = False
    small = dense and prefers_elements(slopes.shape[-1], slopes.numel(), slopes.device)
    if small and slopes.stride(-1) == 1:
        slopes = put_elements_first(slopes, 2)
    path = torch.empty_like(shifts, memory_format=torch.contiguous_format)
    if small:
        path = put_elements_first(path)
    if not path.numel():
        return path
    kernel = AffineKernel(dense=dense, small=small, reverse=reverse)
    if dense:
        sweep_chunks(
            kernel,
            slopes,
            shifts.unsqueeze(-1),
            start=start.unsqueeze(-1),
            path=path.unsqueeze(-1),
        )
    else:
        sweep_chunks(kernel, slopes, shifts, start=start, path=path)
    return path


@dataclass(frozen=True)
class AffineKernel:
    """How the maps of a path are ordered, applied and composed."""

    dense: bool
    small: bool  # matrices that are multiplied element by element
    reverse: bool
    composed: bool = False  # products of slopes: they may have overflowed

    def order_steps(self, rows: Tensor, axis: int = 0) -> Sequence[Tensor]:
        """Return the slices of `rows` along `axis`, in the order of the path."""
        slices = rows.unbind(axis)
        if self.reverse:
            return slices[::-1]
        return slices

    def cut_rows(self, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return the first `length` steps of the path, and the others."""
        if self.reverse:
            others = len(rows) - length
            return rows[others:], rows[:others]
        return rows[:length], rows[length:]

    def apply_map(
        self,
        slope: Tensor,
        state: Tensor,
        shift: Tensor,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return `A x + b`; where `x` is zero just `b`, even if the product `A` has overflowed (inf * 0 is nan)."""
        if not self.dense:
            image = torch.addcmul(shift, slope, state, out=out)
        elif self.small:
            image = multiply_by_element(slope, state, shift, out)
        elif state.dim() == 3 and slope.shape[0] == state.shape[0]:
            image = torch.baddbmm(shift, slope, state, out=out)
        else:
            image = torch.add(shift, slope @ state, out=out)
        if not self.composed:
            return image
        zero = state == 0
        if self.dense:
            zero = zero.all(-2, keepdim=True)
        return torch.where(zero, shift, image, out=out)

    def multiply_slopes(self, slope: Tensor, product: Tensor) -> Tensor:
        """Return `A P`."""
        if not self.dense:
            return slope * product
        if self.small:
            return multiply_by_element(slope, product)
        return slope @ product

    def write_states(
        self,
        slopes: Sequence[Tensor],
        shifts: Sequence[Tensor],
        *,
        start: Tensor,
        path: Sequence[Tensor],
    ) -> None:
        """Write the states that follow `start` into the entries of `path`."""
        state = start
        for slope, shift, out in zip(slopes, shifts, path, strict=True):
            if torch.compiler.is_compiling():  # dynamo takes no strided `out=`
                state = out.copy_(self.apply_map(slope, state, shift))
            else:
                state = self.apply_map(slope, state, shift, out)

    def compose_maps(self, slopes: Sequence[Tensor], shifts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the slope and the shift of the maps applied one after another."""
        product, offset = slopes[0], shifts[0]
        if not self.composed:  # the step from zero, written out: a slope of nan spoils it, as in the loop
            offset = self.apply_map(product, torch.zeros_like(offset), offset)
        for slope, shift in zip(slopes[1:], shifts[1:], strict=True):
            product = self.multiply_slopes(slope, product)
            offset = self.apply_map(slope, offset, shift)
        return product, offset


def sweep_chunks(
    kernel: AffineKernel,
    slopes: Tensor,
    shifts: Tensor,
    *,
    start: Tensor,
    path: Tensor,
) -> None:
    """Write the states that follow `start` into `path`."""
    length = len(path)
    size = _chunk_size(length, start, dense=kernel.dense)
    if size >= length:
        _sweep_in_order(kernel, slopes, shifts, start=start, path=path)
        return
    chunked = length // size * size
    slopes, remaining_slopes = kernel.cut_rows(slopes, chunked)
    shifts, remaining_shifts = kernel.cut_rows(shifts, chunked)
    path, remaining_path = kernel.cut_rows(path, chunked)
    end = _sweep_whole_chunks(
        kernel,
        slopes.unflatten(0, (-1, size)),
        shifts.unflatten(0, (-1, size)),
        start=start,
        path=path.unflatten(0, (-1, size)),
    )
    _sweep_in_order(
        kernel,
        remaining_slopes,
        remaining_shifts,
        start=end,
        path=remaining_path,
    )


def _sweep_whole_chunks(
    kernel: AffineKernel,
    slopes: Tensor,
    shifts: Tensor,
    *,
    start: Tensor,
    path: Tensor,
) -> Tensor:
    """Write the states that follow `start` into `path` `(chunks, size, ...)`; return the last of them."""
    # one entry a position in the chunk, for all chunks together
    slope_columns = kernel.order_steps(slopes, 1)
    shift_columns = kernel.order_steps(shifts, 1)
    path_columns = kernel.order_steps(path, 1)
    products, offsets = kernel.compose_maps(slope_columns, shift_columns)
    ends = torch.empty_like(offsets)
    sweep_chunks(
        replace(kernel, composed=True),
        products,
        offsets,
        start=start,
        path=ends,
    )
    if kernel.reverse:
        starts = torch.cat((ends[1:], start[None]))
        end = ends[0]
    else:
        starts = torch.cat((start[None], ends[:-1]))
        end = ends[-1]
    path_columns[-1].copy_(ends)
    kernel.write_states(
        slope_columns[:-1],
        shift_columns[:-1],
        start=starts,
        path=path_columns[:-1],
    )
    return end


def _sweep_in_order(
    kernel: AffineKernel,
    slopes: Tensor,
    shifts: Tensor,
    *,
    start: Tensor,
    path: Tensor,
) -> None:
    """Write the states that follow `start` into `path`, one step after another."""
    kernel.write_states(
        kernel.order_steps(slopes),
        kernel.order_steps(shifts),
        start=start,
        path=kernel.order_steps(path),
    )


def _chunk_size(length: int, state: Tensor, *, dense: bool) -> int:
    """Return the number of steps in a chunk; all of them where a sweep in order is faster. Looks at shapes only."""
    width = state.numel()
    if dense:
        memory_bound = width * state.shape[-2] ** 2 >= IN_ORDER_PRODUCTS
    else:
        memory_bound = width >= IN_ORDER_ELEMENTS
    # Elsewhere a call costs more than its elements, and a compiled sweep in order is a graph of `length` nodes.
    in_order = memory_bound and state.device.type == "cpu" and not torch.compiler.is_compiling()
    if length <= SHORT_PATH or in_order:
        return length
    shortest, longest = SCAN_CHUNK_BOUNDS
    return min(max(length * width // CACHED_ELEMENTS, shortest), longest)
