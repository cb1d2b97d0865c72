"""Window: how many steps are in flight together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.windows.cost_model import RoundCost, RoundProgress, loss

START, GROWTH = 8, 8  # the first width above one, and how many times wider the next round may be
AHEAD = 6  # times what a round advances, the most that is worth holding: far steps were guessed too long ago
STAKE, LEAST = 0.08, 2.0  # what may be lost on trying: a share of a sequential run, and at least so many steps
SPENT, PATIENCE = 0.5, 5.0  # share of it, and steps, that a window may lose in a row before it is given up
KEEP, GROW = 0.85, 0.9  # of the present price that a narrower width must promise, and a wider one
MEMORY = 24  # rounds to look back for a window
LADDER = [base << power for power in range(12) for base in (2, 3)]  # 2 3 4 6 8 12 16 ...
LAST = 0.05  # share of the path at whose end a decision to decline is not worth a word
TINY = 1e-12


class Window(ABC):
    """The width of the next round, from the rounds so far."""

    @abstractmethod
    def width(self, log: Sequence[Round], length: int) -> int:
        """Steps of the next window; the path's end may cut it short. 0 to decline: sequential from here on."""

    def note(self, log: Sequence[Round], length: int) -> str | None:
        """Why it declined, asked when it does; None where there is nothing to say."""
        return None

    def declines(self, length: int) -> str | None:
        """Why a path of this length is not worth setting anything up for; None where it may be."""
        return None


@dataclass(frozen=True)
class Full(Window):
    """All steps that are left."""

    def width(self, log: Sequence[Round], length: int) -> int:
        return length


@dataclass(frozen=True)
class Sliding(Window):
    """`size` steps."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Sliding({self.size}) holds no step; pass a size of 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        return self.size


@dataclass(frozen=True)
class Auto(Window):
    """The width that minimises the predicted time, `c(W) / p(W)`: seconds of a round over the steps it advances.

    Both are measured on the rounds so far (`forerun.engine.windows.cost_model`). After a few single steps the window
    opens, so narrow that its failure would cost little, and moves to the width of the lowest price within reach: half
    the present one at least, and no more than several times what a round advances. It declines where no width promises
    to beat single steps and the last rounds have lost as much as was at stake; `note` says why.

    Args:
        max_width: largest width.
        fewest: steps of the shortest path that is tried. Samplers of ten steps take seven to ten rounds
            (`benchmarks/fewer_steps_is_the_rival.py`).
    """

    max_width: int = 512
    fewest: int = 12

    def __post_init__(self) -> None:
        if self.max_width < 1:
            raise ValueError(
                f"Auto(max_width={self.max_width}) holds no step; pass a max_width of 1 (sequential) or more"
            )

    def width(self, log: Sequence[Round], length: int) -> int:
        if length < self.fewest:
            return 0
        if not any(entry.width > 1 for entry in log[-MEMORY:]):
            return 1 if 0 < len(log) <= _singles(length) else self._begin(length)
        return self._best(log, length)

    def declines(self, length: int) -> str | None:
        few = f"Sequential: {length} steps are too few to gain by running ahead; window=Full() tries all the same."
        return few if length < self.fewest else None

    def note(self, log: Sequence[Round], length: int) -> str | None:
        if length < self.fewest:
            return self.declines(length)
        costs, gains, last = RoundCost.of(log), RoundProgress.of(log), log[-1]
        if length - last.start - last.accepted < LAST * length:
            return None
        return (
            f"Sequential from step {last.start + last.accepted} on: a round of {last.width} steps costs "
            f"{costs(last.width) / max(costs.single, TINY):.1f} times a single step and advances "
            f"{gains(last.width):.1f} steps."
        )

    def _begin(self, length: int) -> int:
        """The first width above one: two such rounds may advance one step each and cost as much as all their steps."""
        return max(min(START, self.max_width, 1 + int(_stake(length) / 2)), 1)

    def _best(self, log: Sequence[Round], length: int) -> int:
        """The width of the next round; 0 where none is predicted to win."""
        if any(entry.in_order for entry in log[-MEMORY:]):
            return 0  # the check went back, but a run declines once for all
        costs, gains, last = RoundCost.of(log), RoundProgress.of(log), log[-1]
        if costs.widths[0] > 1:
            return 1  # a resumed run, or one that was guessed ahead, began wide
        now = last.width if last.width > 1 else self._begin(length)  # where the check went back, it opens anew
        spent, stake = loss(log, costs), _stake(length) * costs.single
        choices = self._choices(now, gains, length)
        afford = stake - spent + gains(now) * costs.single
        tried = costs.widths[-1]
        price = {w: costs(w) / gains.beyond(w, now) for w in choices if w <= max(tried, now) or costs.risk(w) <= afford}
        best = min(price, key=price.__getitem__, default=1)
        if costs.count(now) == 1 and now in price and best <= now:
            return now  # the first round of a width may be cold, and is no reason to go back
        if not price or (price[best] >= costs.single and spent > min(SPENT * stake, PATIENCE * costs.single)):
            return 0
        return now if now in price and price[best] > (GROW if best > now else KEEP) * price[now] else best

    def _choices(self, now: int, gains: RoundProgress, length: int) -> list[int]:
        """Widths above one within reach of the present one, which is among them if it is not too wide."""
        worth = max(AHEAD * gains(now), self._begin(length), now / 2)
        top = min(self.max_width, GROWTH * now, int(worth))
        return [width for width in sorted({*LADDER, now, top}) if 1 < width <= max(top, 2) and width >= now / 2]


@dataclass(frozen=True)
class Within(Window):
    """Another window, cut to `most` steps, as memory may ask."""

    window: Window
    most: int

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"Within(..., {self.most}) holds no step; pass 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        return min(self.window.width(log, length), self.most)

    def note(self, log: Sequence[Round], length: int) -> str | None:
        return self.window.note(log, length)

    def declines(self, length: int) -> str | None:
        return self.window.declines(length)


def _singles(length: int) -> int:
    """Rounds of one step after the first, to know what a single step costs when warm."""
    return 1 if length < 200 else 2


def _stake(length: int) -> float:
    """What may be lost on trying a width, in single steps."""
    return max(STAKE * length, LEAST)
