"""RoundCost: what a round of some width costs, from the rounds so far."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import sqrt
from typing import final

from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.windows.past_run import PastRun

COST_HEAD_ROUNDS = 12  # the first rounds, which tried the small widths, are among those that costs are read from
COST_TAIL_ROUNDS = 40  # and so are the last
MEDIAN_ROUNDS = 5  # of one width, the last, that count for its cost
MIN_OVERHEAD_SHARE = 0.2  # of what a round of one takes beside evaluation, that a step of the ordinary loop takes

TimingsByWidth = Mapping[int, Sequence[RoundTiming]]


@final
@dataclass(frozen=True)
class RoundCost:
    """Seconds of a round by its width, `c(W)`: never falling, linear between the widths that were measured.

    Attributes:
        widths: those measured, ascending.
        seconds: time of a round of each width.
        counts: number of measurements of each width.
        single: time of a step of the ordinary loop, which need not be measured, compared and slid.
    """

    widths: tuple[int, ...]
    seconds: tuple[float, ...]
    counts: tuple[int, ...]
    single: float

    @classmethod
    def from_log(cls, log: Sequence[Round], past: PastRun | None = None) -> RoundCost:
        """Return the costs in a log of at least one round, and in those of a past run where the log has none."""
        timings = _collect_timings(log)
        medians = {width: _median_total(timings[width]) for width in timings}
        counts = {width: len(timings[width]) for width in timings}
        single = _measure_single(log)
        if single is not None:
            medians[1], counts[1] = single, 1
        if past is not None:
            _add_past(medians, counts, past)
        widths = sorted(medians)
        # a wider round that took less shows that the narrower one was disturbed, or cold
        seconds = [*accumulate((medians[width] for width in reversed(widths)), min)][::-1]
        if single is None and past is not None:
            single = medians[1]
        if single is None:
            single = _single_step_cost(timings, max_cost=seconds[0])
        return cls(tuple(widths), tuple(seconds), tuple(counts[width] for width in widths), min(single, seconds[0]))

    def __call__(self, width: int) -> float:
        """Return the expected `c(width)`; beyond the widest measured on the last line, up to `upper_bound`."""
        place = bisect_left(self.widths, width)
        if place < len(self.widths) and (place == 0 or self.widths[place] == width):
            return self.seconds[place]
        if len(self.widths) == 1:
            return self.upper_bound(width)
        place = min(place, len(self.widths) - 1)
        left, right = self.widths[place - 1 : place + 1]
        low, high = self.seconds[place - 1 : place + 1]
        on_line = low + (high - low) * (width - left) / (right - left)
        return min(on_line, self.upper_bound(width))

    def upper_bound(self, width: int) -> float:
        """Return the most that a round should cost: as much a step as in the widest round measured."""
        return self.seconds[-1] * max(width / self.widths[-1], 1.0)

    def cautious(self, width: int) -> float:
        """Return what a round may well cost: between what is expected and the most."""
        return sqrt(self(width) * self.upper_bound(width))

    def count_measurements(self, width: int) -> int:
        """Return how often a width was measured."""
        place = bisect_left(self.widths, width)
        if self.widths[place : place + 1] == (width,):
            return self.counts[place]
        return 0


def _collect_timings(log: Sequence[Round]) -> dict[int, list[RoundTiming]]:
    """Return the times of the rounds that tell what a width costs."""
    timings: dict[int, list[RoundTiming]] = {}
    for previous, entry in _recent_pairs(log):
        # the time before a call holds the sweep of the round before, which of a wider one is no measure
        if (previous.in_order or previous.width <= entry.width) and not entry.in_order:
            timings.setdefault(entry.width, []).append(entry.timing)
    first = log[0]
    if not first.in_order:
        timings.setdefault(first.width, [first.timing])  # cold: lazy initialisation, first allocations
    return timings


def _measure_single(log: Sequence[Round]) -> float | None:
    """Return the time of a step of the plain loop where it ran; None where it did not."""
    singles = [log[0].single, *(entry.single for _, entry in _recent_pairs(log))]
    seconds = [single for single in singles if single is not None]
    return _lower_median(seconds) if seconds else None


def _add_past(medians: dict[int, float], counts: dict[int, int], past: PastRun) -> None:
    """Add what a past run measured, in the seconds of this one: scaled by the widest width that both measured."""
    scale = 1.0
    for width, seconds in zip(past.widths, past.seconds, strict=True):
        if counts.get(width, 0) > 1 and seconds > 0:
            scale = medians[width] / seconds
    for width, seconds, count in zip(past.widths, past.seconds, past.counts, strict=True):
        if counts.get(width, 0) < 2:
            medians[width], counts[width] = scale * seconds, count


def _recent_pairs(log: Sequence[Round]) -> Iterator[tuple[Round, Round]]:
    """Yield each round, less the first, with the one before it: the head and the tail of the log."""
    head = log[:COST_HEAD_ROUNDS]
    tail_start = max(len(log) - COST_TAIL_ROUNDS, len(head))
    yield from pairwise(head)
    yield from pairwise(log[tail_start - 1 :])


def _single_step_cost(timings: TimingsByWidth, *, max_cost: float) -> float:
    """Return the time of a round of one, with no more beside evaluation than a step adds to a wider round."""
    if 1 not in timings:
        return max_cost / min(timings)
    evaluating = _median_evaluation(timings[1])
    overhead_of_one = _median_overhead(timings[1])
    widest = max(timings)
    overhead_per_step = 0.0
    if widest > 1:
        overhead_per_step = (_median_overhead(timings[widest]) - overhead_of_one) / (widest - 1)
    overhead = max(overhead_per_step, MIN_OVERHEAD_SHARE * overhead_of_one)
    return min(evaluating + overhead, max_cost)


def _median_total(timings: Sequence[RoundTiming]) -> float:
    return _lower_median([timing.total for timing in timings])


def _median_evaluation(timings: Sequence[RoundTiming]) -> float:
    return _lower_median([timing.evaluate + timing.communicate for timing in timings])


def _median_overhead(timings: Sequence[RoundTiming]) -> float:
    return _lower_median([timing.overhead for timing in timings])


def _lower_median(values: Sequence[float]) -> float:
    """Return the lower median of the last values: time is only ever added by what disturbs a measurement."""
    latest = sorted(values[-MEDIAN_ROUNDS:])
    return latest[(len(latest) - 1) // 2]
