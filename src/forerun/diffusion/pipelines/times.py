"""Arguments of time: numbers of the step, which a network may get in several units and shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import (
    ArgumentSource,
    BatchRows,
    StepBatch,
    spread_rows,
)
from forerun.diffusion.schedulers.quirks import SIGMAS, TRAIN_TIMESTEPS
from forerun.diffusion.schedulers.replay import SchedulerReplay
from forerun.diffusion.step_values import append_axes

USUAL_TRAIN_TIMESTEPS = 1000
TIME_ROUNDINGS = 4


@dataclass(frozen=True)
class TimeTable:
    """Numbers of the steps `(length,)`, float64, and what a pipeline makes of them."""

    numbers: Tensor
    convert: Callable[[Tensor], Tensor]

    def candidates(self, dtype: torch.dtype) -> list[Tensor]:
        """Return the numbers converted, after rounding them to a dtype and as they are; float64."""
        rounded = self.convert(self.numbers.to(dtype)).double()
        return [rounded, self.convert(self.numbers)]


@final
@dataclass(frozen=True)
class TimeArgument(ArgumentSource):
    """A number of the step, in the shape and dtype of what a network got; other entries of it stay as they were.

    Attributes:
        values: float64, one a step from the one that was traced.
        observed: what the network got there.
        rows: of its batch.
    """

    values: Tensor
    observed: Any
    rows: BatchRows

    def build(self, batch: StepBatch) -> Any:
        values = self.values[batch.steps.to(self.values.device)]
        if not isinstance(self.observed, Tensor):
            return self._build_number(values, batch)
        has_rows = self.observed.dim() > 0
        if has_rows and len(self.observed) == self.rows.rows:
            return self._build_rows(values)
        if len(values) > 1:
            return self.rows.spread_numbers(values).to(self.observed)
        value = values[0].to(self.observed)
        return value.expand(self.observed.shape)

    def _build_number(self, values: Tensor, batch: StepBatch) -> Any:
        if len(values) == 1:
            return float(values[0])
        return self.rows.spread_numbers(values).to(batch.samples)

    def _build_rows(self, values: Tensor) -> Tensor:
        """Return the numbers in place of the entries that were this step's; the others are constants."""
        observed = self.observed.double()
        count, copies = len(values), self.rows.copies
        largest = observed.flatten()[observed.abs().argmax()]
        is_time = observed == largest
        times = self.rows.spread_numbers(values.to(observed.device))
        times = append_axes(times, observed)
        mask = spread_rows(is_time, copies, count)
        constants = spread_rows(observed, copies, count)
        combined = torch.where(mask, times, constants)
        return combined.to(self.observed.dtype)


def list_time_tables(scheduler: Any, replay: SchedulerReplay) -> list[TimeTable]:
    """Return what an argument of time may be: the timestep, a share of all timesteps, or the noise level."""
    numbers = [float(time) for time in replay.timesteps]
    times = torch.tensor(numbers, dtype=torch.float64)
    train_timesteps = float(TRAIN_TIMESTEPS.read(scheduler) or USUAL_TRAIN_TIMESTEPS)
    conversions: list[Callable[[Tensor], Tensor]] = [
        lambda time: time,
        lambda time: time / train_timesteps,
        lambda time: 1 - time / train_timesteps,
        lambda time: train_timesteps - time,
    ]
    tables = [TimeTable(times, convert) for convert in conversions]
    levels = _noise_levels(scheduler, replay)
    if levels is not None:
        tables.append(TimeTable(levels, lambda level: level))
    return tables


def _noise_levels(scheduler: Any, replay: SchedulerReplay) -> Tensor | None:
    """Return the scheduler's sigma of every step; None where it does not list one for each."""
    sigmas = SIGMAS.read(scheduler)
    if sigmas is None:
        return None
    levels: list[float] = []
    for index in range(len(replay)):
        step_index = replay.step_index(index)
        if step_index is None or not 0 <= step_index < len(sigmas):
            return None
        levels.append(float(sigmas[step_index]))
    return torch.tensor(levels, dtype=torch.float64)


def find_time(
    observed: Any,
    rows: BatchRows,
    tables: Sequence[TimeTable],
) -> TimeArgument | None:
    """Return which table of numbers an argument is taken from, judged by its first step; None where from none."""
    if not is_number(observed):
        return None
    value = _largest_entry(observed)
    dtype = torch.float32
    if isinstance(observed, Tensor) and observed.is_floating_point():
        dtype = observed.dtype
    rounding = TIME_ROUNDINGS * torch.finfo(dtype).eps
    threshold = rounding * max(abs(value), 1e-3)
    # in half precision pipelines round the time before they scale it: so these come first
    candidates = [values for table in tables for values in table.candidates(dtype)]
    distances = [abs(float(values[0]) - value) for values in candidates]
    nearest = min(distances)
    if not nearest <= threshold:  # nor where it is nan
        return None
    values = candidates[distances.index(nearest)]
    return TimeArgument(values, observed, rows)


def is_number(value: Any) -> bool:
    """Return whether a value is a tensor or a number, and no flag."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Tensor | int | float)


def _largest_entry(observed: Any) -> float:
    if not isinstance(observed, Tensor):
        return float(observed)
    entries = observed.double()
    place = entries.abs().argmax()
    return float(entries.flatten()[place])
