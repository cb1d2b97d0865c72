"""Local: every step of a round in one call on one device, or in slices that fit its memory."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forerun.engine.backends.base import Backend, RowFunction, SecondsReader, TimingReader
from forerun.engine.rounds import RoundTiming


@dataclass(frozen=True)
class Local(Backend):
    """One device, this process.

    Args:
        max_batch: steps in one call at most; a wider round is evaluated in slices. None for no bound.
        pad: sizes to pad a call to, by repeating its last step, so that compiled functions and CUDA graphs meet
            few shapes; a call larger than all of them is not padded.
    """

    max_batch: int | None = None
    pad: Sequence[int] = field(default=())

    def __post_init__(self) -> None:
        if self.max_batch is not None and self.max_batch < 1:
            raise ValueError(f"Local(max_batch={self.max_batch}) evaluates nothing; pass max_batch=1 or more, or None")

    def evaluate(
        self,
        call: RowFunction,
        steps: Tensor,
        inputs: Tensor,
        overhead: float,
    ) -> tuple[Tensor, TimingReader]:
        stop_watch = start_stopwatch(inputs.device)
        outputs = self.evaluate_slices(call, steps, inputs)
        read_seconds = stop_watch()
        return outputs, lambda: RoundTiming(evaluate=read_seconds(), overhead=overhead)

    def start_walk(self, device: torch.device) -> Callable[[], SecondsReader] | None:
        if self.pad or type(self).evaluate is not Local.evaluate:
            return None  # of fixed shapes, or of another place
        return start_stopwatch(device)

    def evaluate_slices(self, call: RowFunction, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs of all steps, evaluated in slices of at most `max_batch`."""
        if self.max_batch is None or steps.shape[0] <= self.max_batch:
            return self._call_padded(call, steps, inputs)
        size = self.max_batch
        slices = zip(steps.split(size), inputs.split(size), strict=True)
        return torch.cat([self._call_padded(call, *rows) for rows in slices])

    def _call_padded(self, call: RowFunction, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs of a call that is filled up to the next size of `pad`."""
        if not self.pad:
            return call(steps, inputs)
        count = len(steps)
        sizes = sorted(self.pad)
        place = bisect_left(sizes, count)
        if place == len(sizes) or count == 0:
            return call(steps, inputs)
        size = sizes[place]
        return call(_repeat_last(steps, size), _repeat_last(inputs, size))[:count]


def start_stopwatch(device: torch.device) -> Callable[[], SecondsReader]:
    """Start timing work on `device`; call the result to stop, and what that returns to read the seconds.

    On a GPU events are recorded, so that nothing waits until the seconds are read.
    """
    if device.type != "cuda":
        return _start_clock()
    return _start_events()


def _start_clock() -> Callable[[], SecondsReader]:
    start_time = time.perf_counter()

    def stop_watch() -> SecondsReader:
        seconds = time.perf_counter() - start_time
        return lambda: seconds

    return stop_watch


def _start_events() -> Callable[[], SecondsReader]:
    start = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    start.record()

    def stop_watch() -> SecondsReader:
        end.record()
        return read_seconds

    def read_seconds() -> float:
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return stop_watch


def _repeat_last(rows: Tensor, size: int) -> Tensor:
    """Return the rows, the last of them repeated up to a size."""
    padding = rows[-1:].expand(size - len(rows), *rows.shape[1:])
    return torch.cat([rows, padding])
