"""AffineMaps: `advance` of some steps in closed form, in rows; and AffineCache, which asks for each step once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.process import Affine, Process

AHEAD_ELEMENTS: Final = 2**14  # of shifts, that are asked for before they are needed
AHEAD_STEPS: Final = 512  # of a form without shifts, likewise


@dataclass(frozen=True)
class AffineMaps:
    """The steps from `start` on as `x_{i+1} = a_i x_i + b_i o_i + c_i`.

    Attributes:
        start: the first step.
        state_factors: `a`, `(W, 1, .., 1)`, with as many axes as rows.
        output_factors: `b`, likewise.
        shift: `c`, rows `(W, *batch, D)`; None for zero.
    """

    start: int
    state_factors: Tensor
    output_factors: Tensor
    shift: Tensor | None

    def __len__(self) -> int:
        return self.state_factors.shape[0]

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.start + self.state_factors.shape[0]

    @classmethod
    def from_affine(
        cls,
        affine: Affine,
        start: int,
        count: int,
        layout: RowLayout,
    ) -> AffineMaps:
        """Return the closed form that a process gave for the steps `start .. start+count-1`, in rows of this layout.

        Factors of any dtype are cast to that of the rows, which rounds them once.
        """
        row_shape = (count, *[1] * (len(layout.batch) + 1))
        shift = None
        if affine.shift is not None:
            shift = layout.pack(affine.shift, count)
        return cls(
            start=start,
            state_factors=affine.state.to(layout.device, layout.dtype).reshape(row_shape),
            output_factors=affine.output.to(layout.device, layout.dtype).reshape(row_shape),
            shift=shift,
        )

    @classmethod
    def from_parts(cls, parts: Sequence[AffineMaps]) -> AffineMaps:
        """Return the maps of consecutive parts as one."""
        shift = None
        shifts = [maps.shift for maps in parts if maps.shift is not None]
        if shifts:
            shift = torch.cat([maps.fill_shift(like=shifts[0]) for maps in parts])
        return cls(
            start=parts[0].start,
            state_factors=torch.cat([maps.state_factors for maps in parts]),
            output_factors=torch.cat([maps.output_factors for maps in parts]),
            shift=shift,
        )

    def select_steps(self, start: int, count: int) -> AffineMaps:
        """Return the maps of the steps `start .. start+count-1`, as far as they reach."""
        if start == self.start and count == len(self):
            return self
        rows = slice(start - self.start, start - self.start + count)
        shift = self.shift
        if shift is not None:
            shift = shift[rows]
        return AffineMaps(
            start,
            self.state_factors[rows],
            self.output_factors[rows],
            shift,
        )

    def compute_propagators(self, slopes: Tensor | None) -> Tensor:
        """Return `A_i = a_i + b_i S_i`, shaped like the slopes: `(W, *batch, 1)`, `(W, *batch, D)` or dense."""
        if slopes is None:
            return self.state_factors
        if slopes.dim() == self.state_factors.dim():
            return torch.addcmul(self.state_factors, self.output_factors, slopes)
        propagators = self.output_factors.unsqueeze(-1) * slopes
        propagators.diagonal(dim1=-2, dim2=-1).add_(self.state_factors)
        return propagators

    def advance_rows(self, states: Tensor, outputs: Tensor) -> Tensor:
        """Return the rows after each step by itself, `a x + b o + c`, of rows `(W, *batch, D)`."""
        rows = torch.addcmul(self.state_factors * states, self.output_factors, outputs)
        if self.shift is None:
            return rows
        return rows + self.shift

    def fill_shift(self, like: Tensor) -> Tensor:
        """Return the shift, or zeros for it with rows like these."""
        if self.shift is None:
            return like.new_zeros((len(self), *like.shape[1:]))
        return self.shift


class AffineCache:
    """The closed form of a process, remembered for about two windows, and asked for up to a window ahead.

    A window slides by a few steps a round and is swept several times, while a step's noise may be costly to draw.
    The factors, two numbers a step, are remembered for good.
    """

    def __init__(self, process: Process, layout: RowLayout) -> None:
        self._process = process
        self._layout = layout
        self._cached: AffineMaps | None = None
        self._factors: AffineMaps | None = None  # of all steps, without shifts
        self._is_known = bytearray(process.length)  # whether the factors of a step are among them
        self._max_count = 0
        self._most_ahead = AHEAD_ELEMENTS // max(layout.batch.numel() * layout.width, 1)

    def select_maps(self, start: int, count: int) -> AffineMaps | None:
        """Return the maps of the steps `start .. start+count-1`; None where the process has no closed form for them."""
        self._max_count = max(count, self._max_count)
        cached = self._cached
        if cached is None or not cached.start <= start <= cached.stop:
            self._cached = self._request_maps(start, count)
        elif start + count > cached.stop:
            self._cached = self._extend_maps(cached, start, start + count)
        if self._cached is None:
            return None
        return self._cached.select_steps(start, count)

    def select_factors(self, start: int, count: int) -> AffineMaps | None:
        """Return maps without their shifts, of steps that were asked for at any time; None of others."""
        if self._factors is None or self._is_known.find(0, start, start + count) >= 0:
            return None
        return self._factors.select_steps(start, count)

    def covers_steps(self, start: int, count: int) -> bool:
        """Whether the last maps that were asked for are of these steps too."""
        cached = self._cached
        return cached is not None and cached.start <= start and start + count <= cached.stop

    def _extend_maps(self, cached: AffineMaps, start: int, stop: int) -> AffineMaps | None:
        """Return the cached maps up to `stop`, without those that lie far before `start`."""
        first = max(min(start, stop - 2 * self._max_count), cached.start)
        recent = cached.select_steps(first, len(cached))
        fresh = self._request_maps(recent.stop, stop - recent.stop)
        if fresh is None:
            return None
        return AffineMaps.from_parts([recent, fresh])

    def _request_maps(self, start: int, count: int) -> AffineMaps | None:
        """Return what the process says of the steps from `start` on: of `count`, and of some more in the same call."""
        ahead = min(self._max_count, self._most_ahead)
        if self._cached is not None and self._cached.shift is None:
            ahead = AHEAD_STEPS
        ahead = min(ahead, self._process.length - start)
        if ahead > count:
            maps = self._ask_process(start, ahead)
            if maps is not None:
                return maps
        return self._ask_process(start, count)

    def _ask_process(self, start: int, count: int) -> AffineMaps | None:
        """Return what the process says of the steps `start .. start+count-1`."""
        affine = self._process.affine(torch.arange(start, start + count, device=self._layout.device))
        if affine is None or (self._layout.is_rounded and not affine.copies):
            return None
        maps = AffineMaps.from_affine(affine, start, count, self._layout)
        self._remember_factors(maps)
        return maps

    def _remember_factors(self, maps: AffineMaps) -> None:
        """Write the factors of some steps to those of all steps."""
        if self._factors is None:
            shape = (self._process.length, *maps.state_factors.shape[1:])
            state_factors = maps.state_factors.new_empty(shape)
            self._factors = AffineMaps(0, state_factors, torch.empty_like(state_factors), None)
        self._factors.state_factors[maps.start : maps.stop] = maps.state_factors
        self._factors.output_factors[maps.start : maps.stop] = maps.output_factors
        self._is_known[maps.start : maps.stop] = b"\x01" * len(maps)
