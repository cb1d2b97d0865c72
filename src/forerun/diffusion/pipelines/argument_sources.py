"""Sources of the arguments of a network's call, and how to build each argument for many steps together.

Each leaf of the arguments is one of: the samples, the time (`times`), the output of an earlier call of the same step,
a constant that goes with the rows of the batch, or a constant of the whole call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.layout import AxisLayout
from forerun.diffusion.step_values import repeat_rows, select_steps


@dataclass(frozen=True)
class StepBatch:
    """Steps `(W,)` of the loop, counted from the one that was traced, and their samples `(W, B, *shape)`.

    The rows of a batch are ordered `(branch, W, B)`, so that networks that split a batch into its branches find them.
    """

    steps: Tensor
    samples: Tensor
    outputs: Sequence[Sequence[Tensor]] = ()  # leaves of the calls before, each (W * n, ...)


@dataclass(frozen=True)
class BatchRows:
    """Rows of the batch of one step: their number, and in how many copies (branches) the samples stand in it."""

    rows: int
    copies: int

    def spread_numbers(self, values: Tensor) -> Tensor:
        """Return numbers of steps `(W,)`, one for every row of their batch."""
        repeated = values.repeat_interleave(self.rows // self.copies)
        return repeated.repeat(self.copies)


class ArgumentSource(ABC):
    """Where one argument comes from."""

    @abstractmethod
    def build(self, batch: StepBatch) -> Any:
        """Return the argument for `W` steps in one call."""


@final
@dataclass(frozen=True)
class ConstantArgument(ArgumentSource):
    """An argument that is the same for any number of rows.

    Attributes:
        value: the argument.
        version: how often it had been changed in place when it was traced.
    """

    value: Any
    version: int = 0

    def build(self, batch: StepBatch) -> Any:
        return self.value


@final
@dataclass(frozen=True)
class RowArgument(ArgumentSource):
    """A tensor `(n, ...)` or a list of `n` that goes along with the rows of the batch, in `copies` branches.

    Attributes:
        value: the argument.
        copies: branches along the batch.
        version: how often it had been changed in place when it was traced.
    """

    value: Any
    copies: int
    version: int = 0

    def build(self, batch: StepBatch) -> Any:
        count = len(batch.steps)
        if count == 1:
            return self.value
        if isinstance(self.value, Tensor):
            return spread_rows(self.value, self.copies, count)
        return self._repeat_entries(count)

    def _repeat_entries(self, count: int) -> list[Any]:
        size = len(self.value) // self.copies
        entries: list[Any] = []
        for start in range(0, size * self.copies, size):
            entries += self.value[start : start + size] * count
        return entries


@final
@dataclass(frozen=True)
class OutputArgument(ArgumentSource):
    """Leaf `leaf` of what call number `call` of the same step returned; perhaps after as many rows of zeros."""

    call: int
    leaf: int
    after_zeros: bool = False

    def build(self, batch: StepBatch) -> Any:
        return self.from_output(batch.outputs[self.call][self.leaf])

    def from_output(self, output: Tensor) -> Tensor:
        """Return the argument, from the output."""
        if not self.after_zeros:
            return output
        return torch.cat([torch.zeros_like(output), output])


@final
@dataclass(frozen=True)
class SampleArgument(ArgumentSource):
    """The samples, scaled, in other axes, in several copies, perhaps next to constants.

    Attributes:
        layout: how the network sees them.
        copies: branches along the batch.
        scales: by how much each step's samples are multiplied, float64.
        observed: what the network got in the step that was traced, `(n, ...)`; gives the constants.
        axis: along which the samples stand next to constants.
        offset: of the samples along that axis.
        mask: of the elements that came from the samples, where these are no slice.
        listed: whether they are handed over as a list of rows.
    """

    layout: AxisLayout
    copies: int
    scales: Tensor
    observed: Tensor
    axis: int = 0
    offset: int = 0
    mask: Tensor | None = None
    listed: bool = False

    def build(self, batch: StepBatch) -> Any:
        samples = batch.samples
        scaled = samples * select_steps(self.scales, batch.steps, samples)
        rows = self.layout.to_network(scaled.flatten(0, 1))
        rows = repeat_rows(rows.to(self.observed.dtype), self.copies)
        argument = self._place_among_constants(rows, len(batch.steps))
        return list(argument.unbind()) if self.listed else argument

    def _place_among_constants(self, rows: Tensor, count: int) -> Tensor:
        if rows.shape[1:] == self.observed.shape[1:] and self.mask is None:
            return rows
        constants = spread_rows(self.observed, self.copies, count).clone()
        if self.mask is not None:
            mask = spread_rows(self.mask, self.copies, count)
            return torch.where(mask, rows, constants)
        constants.narrow(self.axis, self.offset, rows.shape[self.axis]).copy_(rows)
        return constants


def spread_rows(rows: Tensor, copies: int, count: int) -> Tensor:
    """Return rows `(copies * B, ...)` of one step for `count` steps, `(copies, count, B, ...)` with one batch axis."""
    branches = rows.reshape(copies, 1, -1, *rows.shape[1:])
    expanded = branches.expand(copies, count, *branches.shape[2:])
    return expanded.flatten(0, 2).contiguous()
