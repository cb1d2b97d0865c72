"""AffineMaps: `advance` of a window in closed form, in rows; each step is asked for once, however often it is swept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Layout
from forerun.engine.process import Affine, Process


@dataclass(frozen=True)
class AffineMaps:
    """The steps from `start` on as `x_{i+1} = keep_i x_i + gain_i o_i + shift_i`.

    Attributes:
        start: the first step.
        keep: `(W, 1, .., 1)`, with as many axes as rows.
        gain: the same.
        shift: rows `(W, *batch, D)`; None for zero.
    """

    start: int
    keep: Tensor
    gain: Tensor
    shift: Tensor | None

    def __len__(self) -> int:
        return len(self.keep)

    def since(self, start: int, count: int) -> AffineMaps:
        """The part on the steps `start .. start+count-1`, as far as it reaches."""
        if start == self.start and count == len(self.keep):
            return self
        part = slice(start - self.start, start - self.start + count)
        return AffineMaps(start, self.keep[part], self.gain[part], None if self.shift is None else self.shift[part])

    def propagator(self, slopes: Tensor | None) -> Tensor:
        """`A_i = keep_i + gain_i S_i`, shaped like the slopes: `(W, *batch, 1)`, `(W, *batch, D)` or dense."""
        if slopes is None:
            return self.keep
        if slopes.dim() == self.keep.dim():
            return torch.addcmul(self.keep, self.gain, slopes)
        found = self.gain.unsqueeze(-1) * slopes
        found.diagonal(dim1=-2, dim2=-1).add_(self.keep)
        return found

    def unshifted(self) -> AffineMaps:
        """The same for distances, which a shift does not change."""
        return AffineMaps(self.start, self.keep, self.gain, None)

    @classmethod
    def joined(cls, parts: Sequence[AffineMaps]) -> AffineMaps:
        """Stretches of steps, one after another."""
        shifts = [part.shift for part in parts if part.shift is not None]
        return cls(
            parts[0].start,
            torch.cat([part.keep for part in parts]),
            torch.cat([part.gain for part in parts]),
            torch.cat([_dense(part, shifts[0]) for part in parts]) if shifts else None,
        )


def _dense(maps: AffineMaps, like: Tensor) -> Tensor:
    return like.new_zeros((len(maps), *like.shape[1:])) if maps.shift is None else maps.shift


class AffineCache:
    """The closed form of a process, remembered for about two windows.

    A window slides by a few steps a round and is swept several times, while a step's noise may be costly to ask for.
    """

    def __init__(self, process: Process, layout: Layout) -> None:
        self._process = process
        self._layout = layout
        self._last: AffineMaps | None = None
        self._widest = 0

    def __call__(self, start: int, count: int) -> AffineMaps | None:
        """The steps `start .. start+count-1`; None where the process has no closed form for them."""
        last, stop, self._widest = self._last, start + count, max(count, self._widest)
        if last is None or not last.start <= start <= last.start + len(last):
            self._last = last = self._ask(start, count)
        elif stop > last.start + len(last):
            kept = last.since(max(min(start, stop - 2 * self._widest), last.start), len(last))
            begun = kept.start + len(kept)
            fresh = self._ask(begun, stop - begun)
            self._last = last = None if fresh is None else AffineMaps.joined([kept, fresh])
        return None if last is None else last.since(start, count)

    def _ask(self, start: int, count: int) -> AffineMaps | None:
        maps = self._process.affine(torch.arange(start, start + count, device=self._layout.device))
        return None if maps is None else self._rows(start, count, maps)

    def _rows(self, start: int, count: int, maps: Affine) -> AffineMaps:
        lead = (count, *[1] * (len(self._layout.batch) + 1))
        keep, gain = (
            factor.to(self._layout.device, self._layout.dtype).reshape(lead) for factor in (maps.state, maps.output)
        )
        return AffineMaps(start, keep, gain, None if maps.shift is None else self._layout.pack(maps.shift, count))
