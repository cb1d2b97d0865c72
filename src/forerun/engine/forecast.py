"""Forecast: what a round of some width costs and how far it gets, from the rounds so far."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log
from statistics import fmean as mean
from typing import final

from forerun.engine.rounds import Round

HEAD, TAIL = 12, 40  # rounds that costs are read from: the first, which tried the small widths, and the last
REACH = 24  # rounds back to look for the first residual of a step
SPAN = 4  # rounds over which gains are averaged
POWER = 0.7  # of the width, with which what a round advances grows
HOPE = 1.0  # rate of a process that nothing is known about
HUGE = 1e30  # stands for residuals that are not finite


@final
@dataclass(frozen=True)
class Costs:
    """Seconds of a round by its width, `c(W)`: never falling, linear between the widths that were measured.

    Attributes:
        widths: those measured, ascending.
        seconds: of each.
        counts: measurements of each.
    """

    widths: tuple[int, ...]
    seconds: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, past: Sequence[Round]) -> Costs:
        """The costs in a log of at least one round."""
        found: dict[int, list[float]] = {}
        for before, entry in _recent(past):
            # the time before a call holds the sweep of the round before, which of a wider one is no measure
            if before is not None and before.width <= entry.width:
                found.setdefault(entry.width, []).append(entry.lap.total)
        first = past[0]
        found.setdefault(first.width, [first.lap.total])  # cold: lazy initialisation, first allocations
        widths = sorted(found)
        middle = [_low_median(found[width][-5:]) for width in widths]
        # a wider round that took less shows that the narrower one was disturbed, or cold
        seconds = [*accumulate(reversed(middle), min)][::-1]
        return cls(tuple(widths), tuple(seconds), tuple(len(found[width]) for width in widths))

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

    def count(self, width: int) -> int:
        """How often a width was measured."""
        place = bisect_left(self.widths, width)
        return self.counts[place] if self.widths[place : place + 1] == (width,) else 0


@final
@dataclass(frozen=True)
class Gains:
    """Steps that a round advances by its width, `p(W) = r W^a`, at least one and at most `W`.

    A wider window advances further, but not in proportion, as its far steps settle late: over windows from 12 to
    100 the shipped denoiser's `p` grows with a power of about 0.7. The rate `r` comes from the last rounds, where a
    step that is not accepted yet counts for the part of the way from its first residual `f` to the limit that is
    done, `1 - log(r / limit) / log(f / limit)`.

    Attributes:
        rate: `r`.
    """

    rate: float

    @classmethod
    def of(cls, past: Sequence[Round]) -> Gains:
        """The gains in a log of at least one round."""
        found = [entry for entry in _progress(past[-REACH:]) if entry[0] > 1][-SPAN:]
        return cls(mean(steps / width**POWER for width, steps in found) if found else HOPE)

    def __call__(self, width: int) -> float:
        """Expected `p(width)`."""
        return float(min(max(self.rate * width**POWER, 1.0), width))


def joined(before: Round, after: Round) -> bool:
    """Whether a round went on where the one before it ended; where not, the check went back."""
    return after.start == before.start + before.accepted


def _progress(past: Sequence[Round]) -> list[tuple[int, float]]:
    """Width of each round, and what the credit of all steps rose by in it."""
    found: list[tuple[int, float]] = []
    first: list[float] = []  # residuals that the steps of the window began with
    before: Round | None = None
    credit = 0.0  # of the steps ahead of the frontier, after the round before
    for entry in past:
        residuals = _envelope(entry.residuals)
        if before is None or not joined(before, entry):
            first, credit = residuals, 0.0
        else:
            first = first[before.accepted : before.accepted + entry.width]
            first += residuals[len(first) :]
        ahead = sum(_credits(residuals, first, entry)[entry.accepted :])
        found.append((entry.width, entry.accepted + ahead - credit))
        credit, before = ahead, entry
    return found


def _envelope(residuals: Sequence[float]) -> list[float]:
    """The largest residual up to each step: what lies behind a step that still moves is not settled."""
    return [*accumulate((size if size < HUGE else HUGE for size in residuals), max)]


def _credits(residuals: Sequence[float], first: Sequence[float], entry: Round) -> list[float]:
    ahead = [0.0] * (entry.width - entry.accepted)
    if entry.limit > 0:
        for index in range(entry.accepted, entry.width):
            size, whole = residuals[index] / entry.limit, first[index] / entry.limit
            if 1 < size < whole:
                ahead[index - entry.accepted] = 1 - log(size) / log(whole)
    return [1.0] * entry.accepted + ahead


def _recent(past: Sequence[Round]) -> Iterator[tuple[Round | None, Round]]:
    """Rounds with the one before each, less the first round: the head and the tail of the log."""
    head = past[:HEAD]
    tail = past[max(len(past) - TAIL, len(head)) - 1 :]
    yield from pairwise(head)
    yield from pairwise(tail)


def _low_median(values: Sequence[float]) -> float:
    """The median, the lower of two: time is only ever added by what disturbs a measurement."""
    return sorted(values)[(len(values) - 1) // 2]
