"""Forecast: what a round of some width costs and how far it gets, from the rounds so far."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isfinite, log, sqrt
from statistics import fmean as mean
from typing import final

from forerun.engine.rounds import Round, RoundTiming

HEAD, TAIL = 12, 40  # rounds that costs are read from: the first, which tried the small widths, and the last
REACH = 24  # rounds back to look for the first residual of a step
SPAN = 4  # rounds over which gains are averaged
POWER = 0.7  # of the width, with which what a round advances grows
HOPE = 1.0  # rate of a process that nothing is known about
RIPE = 0.7  # share of its steps that a round advances, where a wider one is expected to do so too
LEAST = 0.2  # of what a round of one takes beside evaluation, that a step of the ordinary loop takes
HUGE = 1e30  # stands for residuals that are not finite


@final
@dataclass(frozen=True)
class RoundCost:
    """RunTiming of a round by its width, `c(W)`: never falling, linear between the widths that were measured.

    Attributes:
        widths: those measured, ascending.
        seconds: of each.
        counts: measurements of each.
        single: of a step of the ordinary loop, which need not be measured, compared and slid.
    """

    widths: tuple[int, ...]
    seconds: tuple[float, ...]
    counts: tuple[int, ...]
    single: float

    @classmethod
    def of(cls, past: Sequence[Round]) -> RoundCost:
        """The costs in a log of at least one round."""
        found: dict[int, list[RoundTiming]] = {}
        for before, entry in _recent(past):
            # the time before a call holds the sweep of the round before, which of a wider one is no measure
            if before.width <= entry.width and not entry.in_order:
                found.setdefault(entry.width, []).append(entry.timing)
        first = past[0]
        found.setdefault(first.width, [first.timing])  # cold: lazy initialisation, first allocations
        widths = sorted(found)
        middle = [_middle([timing.total for timing in found[width]]) for width in widths]
        # a wider round that took less shows that the narrower one was disturbed, or cold
        seconds = [*accumulate(reversed(middle), min)][::-1]
        counts = [len(found[width]) for width in widths]
        return cls(tuple(widths), tuple(seconds), tuple(counts), _single(found, seconds[0]))

    def __call__(self, width: int) -> float:
        """Expected `c(width)`; beyond what was measured on the line through the last two, no steeper than `most`."""
        place = bisect_left(self.widths, width)
        if place < len(self.widths) and (place == 0 or self.widths[place] == width):
            return self.seconds[place]
        if len(self.widths) == 1:
            return self.most(width)
        place = min(place, len(self.widths) - 1)
        (left, right), (low, high) = self.widths[place - 1 : place + 1], self.seconds[place - 1 : place + 1]
        return min(low + (high - low) * (width - left) / (right - left), self.most(width))

    def most(self, width: int) -> float:
        """The most that a round should cost: as much a step as in the widest round measured."""
        return self.seconds[-1] * max(width / self.widths[-1], 1.0)

    def risk(self, width: int) -> float:
        """What a round may well cost: between what is expected and the most."""
        return sqrt(self(width) * self.most(width))

    def count(self, width: int) -> int:
        """How often a width was measured."""
        place = bisect_left(self.widths, width)
        return self.counts[place] if self.widths[place : place + 1] == (width,) else 0


@final
@dataclass(frozen=True)
class RoundProgress:
    """Steps that a round advances by its width, `p(W) = r W^a`, at least one and at most `W`.

    A wider window advances further, but not in proportion, as its far steps settle late: over windows from 12 to
    100 the shipped denoiser's `p` grows with a power of about 0.7. The rate `r` comes from the last rounds, where a
    step that is not accepted yet counts for the part of the way from its first residual `f` to the threshold that is
    done, `1 - log(r / threshold) / log(f / threshold)`.

    Attributes:
        rate: `r`.
    """

    rate: float

    @classmethod
    def of(cls, past: Sequence[Round]) -> RoundProgress:
        """The gains in a log of at least one round."""
        found = [entry for entry in _progress(past[-REACH:]) if entry[0] > 1]
        return cls(mean(steps / width**POWER for width, steps in found) if found else HOPE)

    def __call__(self, width: int) -> float:
        """Expected `p(width)`."""
        return float(min(max(self.rate * width**POWER, 1.0), width))

    def beyond(self, width: int, now: int) -> float:
        """Expected `p(width)`; in proportion to the width beyond the present one, where that is settled fast."""
        here = self(now)
        return here * width / now if width > now and here >= RIPE * now else self(width)


def loss(past: Sequence[Round], costs: RoundCost) -> float:
    """RunTiming by which the last rounds took longer than single steps, since they last took as long."""
    lost = 0.0
    for entry in past[-TAIL:]:
        if entry.width > 1:
            lost = max(lost + costs(entry.width) - entry.accepted * costs.single, 0.0)
    return lost


def joined(before: Round, after: Round) -> bool:
    """Whether a round went on where the one before it ended; where not, the check went back."""
    return after.start == before.start + before.accepted


def _progress(past: Sequence[Round]) -> list[tuple[int, float]]:
    """Width of each of the last rounds, and what the credit of all steps rose by in it."""
    found: list[tuple[int, float]] = []
    first: list[float] = []  # residuals that the steps of the window began with
    before: Round | None = None
    credit = 0.0  # of the steps ahead of the frontier, after the round before
    for index, entry in enumerate(past, start=SPAN - len(past)):
        if before is None or not joined(before, entry):
            first, credit = [], 0.0
        else:
            first = first[before.accepted : before.accepted + entry.width]
        first += entry.residuals[len(first) :]
        before = entry
        if index >= -1:
            ahead = _credit(_envelope(entry.residuals), _envelope(first), entry)
            found.append((entry.width, entry.accepted + ahead - credit))
            credit = ahead
    return found[-SPAN:]


def _envelope(residuals: Sequence[float]) -> list[float]:
    """The largest residual up to each step: what lies behind a step that still moves is not settled."""
    if not isfinite(sum(residuals)):
        residuals = [size if size < HUGE else HUGE for size in residuals]
    return [*accumulate(residuals, max)]


def _credit(residuals: list[float], first: list[float], entry: Round) -> float:
    """The credit of all steps of a round that it did not accept."""
    threshold, ahead = entry.threshold, slice(entry.accepted, None)
    pairs = zip(residuals[ahead], first[ahead], strict=True)
    return sum(
        1 - log(size / threshold) / log(whole / threshold) for size, whole in pairs if 0 < threshold < size < whole
    )


def _recent(past: Sequence[Round]) -> Iterator[tuple[Round, Round]]:
    """Rounds with the one before each, less the first round: the head and the tail of the log."""
    head = past[:HEAD]
    tail = past[max(len(past) - TAIL, len(head)) - 1 :]
    yield from pairwise(head)
    yield from pairwise(tail)


def _single(found: dict[int, list[RoundTiming]], most: float) -> float:
    """The time of a round of one, with no more of what is not evaluation than a step adds to a wider round."""
    if 1 not in found:
        return most / min(found)
    overhead = {width: _middle([timing.overhead for timing in timings]) for width, timings in found.items()}
    widest = max(found)
    slope = (overhead[widest] - overhead[1]) / (widest - 1) if widest > 1 else 0.0
    step = _middle([timing.evaluate + timing.communicate for timing in found[1]]) + max(slope, LEAST * overhead[1])
    return min(step, most)


def _middle(values: Sequence[float]) -> float:
    """The median of the last five, the lower of two: time is only ever added by what disturbs a measurement."""
    last = sorted(values[-5:])
    return last[(len(last) - 1) // 2]
