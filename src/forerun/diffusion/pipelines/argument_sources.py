"""Arguments of a network's call, and how to make them for many steps together.

Each leaf of the arguments is one of: the samples, the time, the output of an earlier call of the same step, a
constant that goes with the rows of the batch, or a constant of the whole call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.pipelines.layout import AxisLayout, layouts

ROUNDINGS = 8
PARTLY = 0.3  # of a network's input that must come from the sample


@dataclass(frozen=True)
class StepBatch:
    """Steps `(W,)` of the loop, counted from the one that was learnt, and their samples `(W, B, *shape)`.

    The rows of a batch are ordered `(branch, W, B)`, so that networks that split a batch into its branches find them.
    """

    steps: Tensor
    samples: Tensor
    outputs: Sequence[Sequence[Tensor]] = ()  # leaves of the calls before, each (W * n, ...)


@dataclass(frozen=True)
class Batch:
    """How the batch of one step is made up: `rows`, in `copies` branches."""

    rows: int
    copies: int

    def spread(self, values: Tensor) -> Tensor:
        """Numbers of steps `(W,)`, one for every row of their batch."""
        return values.repeat_interleave(self.rows // self.copies).repeat(self.copies)


@dataclass(frozen=True)
class Table:
    """Numbers of the steps `(length,)`, float64, and what is made of them."""

    numbers: Tensor
    change: Callable[[Tensor], Tensor]

    def of(self, dtype: torch.dtype) -> list[Tensor]:
        """The numbers changed: those of a dtype, and as they are; float64."""
        return [self.change(self.numbers.to(dtype)).double(), self.change(self.numbers)]


class ArgumentSource(ABC):
    """One argument."""

    @abstractmethod
    def make(self, moment: StepBatch) -> Any:
        """The argument for `W` steps in one call."""


@dataclass(frozen=True)
class Constant(ArgumentSource):
    """The same for any number of rows."""

    value: Any

    def make(self, moment: StepBatch) -> Any:
        return self.value


@dataclass(frozen=True)
class Rows(ArgumentSource):
    """A tensor `(n, ...)` or a list of `n` that goes along with the rows of the batch, in `copies` branches."""

    value: Any
    copies: int

    def make(self, moment: StepBatch) -> Any:
        count = len(moment.steps)
        if count == 1:
            return self.value
        if isinstance(self.value, Tensor):
            return spread(self.value, self.copies, count)
        size = len(self.value) // self.copies
        return [row for copy in range(self.copies) for row in self.value[copy * size : (copy + 1) * size] * count]


@dataclass(frozen=True)
class Output(ArgumentSource):
    """Leaf `leaf` of what call number `call` of the same step returned; perhaps behind as many rows of zeros."""

    call: int
    leaf: int
    behind_zeros: bool = False

    def make(self, moment: StepBatch) -> Any:
        return self.of(moment.outputs[self.call][self.leaf])

    def of(self, output: Tensor) -> Tensor:
        """The argument, from the output."""
        return torch.cat([torch.zeros_like(output), output]) if self.behind_zeros else output


@dataclass(frozen=True)
class Time(ArgumentSource):
    """A number of the step, in the shape and dtype of what was seen; other entries of it stay as they were."""

    values: Tensor  # float64, one a step from the one that was learnt
    seen: Any
    batch: Batch

    def make(self, moment: StepBatch) -> Any:
        values = self.values[moment.steps.to(self.values.device)]
        if not isinstance(self.seen, Tensor):
            return float(values[0]) if len(values) == 1 else self.batch.spread(values).to(moment.samples)
        if self.seen.dim() == 0 or len(self.seen) != self.batch.rows:
            if len(values) == 1:
                return values[0].to(self.seen).expand(self.seen.shape)
            return self.batch.spread(values).to(self.seen)
        seen = self.seen.double()
        here = seen == seen.flatten()[seen.abs().argmax()]
        times = self.batch.spread(values.to(seen.device)).reshape(-1, *[1] * (seen.dim() - 1))
        count = len(values)
        each = torch.where(spread(here, self.batch.copies, count), times, spread(seen, self.batch.copies, count))
        return each.to(self.seen.dtype)


@dataclass(frozen=True)
class Sample(ArgumentSource):
    """The samples: scaled, laid out, repeated for the branches of guidance, beside or among constants.

    Attributes:
        layout: of their axes.
        copies: branches along the batch.
        scales: by how much each step's samples are multiplied, float64.
        seen: what the network got in the step that was learnt, `(n, ...)`; gives the constants.
        where: which part of `seen` came from the samples: a slice along one axis, or a mask.
        listed: handed over as a list of rows.
    """

    layout: AxisLayout
    copies: int
    scales: Tensor
    seen: Tensor
    axis: int = 0
    offset: int = 0
    mask: Tensor | None = None
    listed: bool = False

    def make(self, moment: StepBatch) -> Any:
        scales = self.scales.to(moment.samples.device)[moment.steps].to(moment.samples.dtype)
        samples = moment.samples * scales.reshape(-1, *[1] * (moment.samples.dim() - 1))
        laid = self.layout.there(samples.flatten(0, 1))
        laid = laid.to(self.seen.dtype).repeat(self.copies, *[1] * (laid.dim() - 1))
        made = self._among_constants(laid, len(moment.steps))
        return list(made.unbind()) if self.listed else made

    def _among_constants(self, laid: Tensor, count: int) -> Tensor:
        if laid.shape[1:] == self.seen.shape[1:] and self.mask is None:
            return laid
        whole = spread(self.seen, self.copies, count).clone()
        if self.mask is not None:
            return torch.where(spread(self.mask, self.copies, count), laid, whole)
        whole.narrow(self.axis, self.offset, laid.shape[self.axis]).copy_(laid)
        return whole


def spread(rows: Tensor, copies: int, count: int) -> Tensor:
    """Rows `(copies * B, ...)` of one step for `count` steps, `(copies, count, B, ...)` with the first three as one."""
    branches = rows.reshape(copies, 1, -1, *rows.shape[1:])
    return branches.expand(copies, count, *branches.shape[2:]).flatten(0, 2).contiguous()


def find_sample(seen: Any, sample: Tensor, scales: Tensor, moment: StepBatch) -> Sample | None:
    """How an argument comes from the samples `(B, *shape)`; None where it does not.

    Args:
        scales: of the scheduler, one a step; also tried without.
    """
    listed = isinstance(seen, list)
    if listed:
        if not seen or not all(isinstance(each, Tensor) and each.shape == seen[0].shape for each in seen):
            return None
        seen = torch.stack(seen)
    if not isinstance(seen, Tensor) or not seen.is_floating_point() or seen.dim() < 2:
        return None
    plain = torch.ones_like(scales)
    for scale in (scales, plain) if bool((scales != 1).any()) else (plain,):
        for layout in layouts(sample, seen):
            found = _placed(seen, sample, scale, layout)
            if found is not None and _equal(found, seen, moment):
                return replace(found, listed=listed)
    return None


def _placed(seen: Tensor, sample: Tensor, scales: Tensor, layout: AxisLayout) -> Sample | None:
    """Where the laid out samples would stand in `seen`, by shapes and, within an axis that is longer, by values."""
    laid = layout.there(sample * scales[0].to(sample))
    if laid.dim() != seen.dim() or seen.shape[0] % laid.shape[0]:
        return None
    copies = seen.shape[0] // laid.shape[0]
    longer = [axis for axis in range(1, seen.dim()) if seen.shape[axis] != laid.shape[axis]]
    found = Sample(layout, copies, scales, seen)
    if not longer:
        rows = laid.repeat(copies, *[1] * (laid.dim() - 1))
        mask = _close(rows, seen)
        if bool(mask.all()) or float(mask.double().mean()) < PARTLY:
            return found
        return Sample(layout, copies, scales, seen, mask=mask)
    axis = longer[0]
    if len(longer) > 1 or seen.shape[axis] < laid.shape[axis]:
        return None
    rows = laid.repeat(copies, *[1] * (laid.dim() - 1))
    size = laid.shape[axis]
    for offset in (0, seen.shape[axis] - size):
        if bool(_close(rows, seen.narrow(axis, offset, size)).all()):
            return Sample(layout, copies, scales, seen, axis=axis, offset=offset)
    return None


def _equal(found: Sample, seen: Tensor, moment: StepBatch) -> bool:
    made = found.make(moment)
    return made.shape == seen.shape and bool(_close(made, seen).all())


def _close(made: Tensor, seen: Tensor) -> Tensor:
    unit = torch.finfo(seen.dtype).eps * ROUNDINGS
    return (made.to(seen.dtype) - seen).abs() <= unit * seen.abs().clamp_min(1e-3)


def find_time(seen: Any, batch: Batch, tables: Sequence[Table]) -> Time | None:
    """Which table of numbers an argument is taken from, judged by the first entry; None where by none."""
    if isinstance(seen, bool) or not isinstance(seen, Tensor | int | float):
        return None
    value = float(seen.double().flatten()[seen.double().abs().argmax()]) if isinstance(seen, Tensor) else float(seen)
    dtype = seen.dtype if isinstance(seen, Tensor) and seen.is_floating_point() else torch.float32
    close = 4 * torch.finfo(dtype).eps * max(abs(value), 1e-3)
    candidates = [values for table in tables for values in table.of(dtype)]
    # in half precision pipelines round the time before they scale it: so these come first
    best = min(candidates, key=lambda values: abs(float(values[0]) - value))
    return Time(best, seen, batch) if abs(float(best[0]) - value) <= close else None
