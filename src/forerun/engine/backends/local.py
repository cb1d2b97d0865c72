"""Local: every step of a round in one call on one device, or in slices that fit its memory."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forerun.engine.backends.base import Backend, Call
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
        self, call: Call, steps: Tensor, inputs: Tensor, overhead: float
    ) -> tuple[Tensor, Callable[[], RoundTiming]]:
        seconds = stopwatch(inputs.device)
        outputs = self.slices(call, steps, inputs)
        stop = seconds()
        return outputs, lambda: RoundTiming(evaluate=stop(), overhead=overhead)

    def slices(self, call: Call, steps: Tensor, inputs: Tensor) -> Tensor:
        """The outputs of all steps, evaluated in slices of at most `max_batch`."""
        size = self.max_batch or max(len(steps), 1)
        found = [self._padded(call, *part) for part in zip(steps.split(size), inputs.split(size), strict=True)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _padded(self, call: Call, steps: Tensor, inputs: Tensor) -> Tensor:
        count = len(steps)
        place = bisect_left(sorted(self.pad), count)
        if place == len(self.pad) or not count:
            return call(steps, inputs)
        more = sorted(self.pad)[place] - count
        filled = (torch.cat([each, each[-1:].expand(more, *each.shape[1:])]) for each in (steps, inputs))
        return call(*filled)[:count]


def stopwatch(device: torch.device) -> Callable[[], Callable[[], float]]:
    """Start timing work on `device`; call once to stop, and the result once the work is done to read seconds.

    On a GPU events are recorded, so that nothing waits.
    """
    if device.type != "cuda":
        begun = time.perf_counter()

        def stop() -> Callable[[], float]:
            passed = time.perf_counter() - begun
            return lambda: passed

        return stop
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()

    def record() -> Callable[[], float]:
        end.record()

        def read() -> float:
            end.synchronize()
            return float(start.elapsed_time(end)) / 1000

        return read

    return record
