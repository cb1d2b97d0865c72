"""Window: how many steps are in flight together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.forecast import Costs, Gains
from forerun.engine.rounds import Round

START, GROWTH = 8, 4  # the first width above one, and how many times wider the next round may be
STAKE = 0.08  # share of a sequential run that may be lost on trying
KEEP = 0.95  # of the present price that another width must promise
RIPE = 0.4  # of its steps a round must advance, for a wider one to be tried whatever the forecast
CLEAR = 1.1  # steps a round must advance, for its cost to matter
MEMORY = 24  # rounds for which a window that was narrowed stays so
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

    Both are measured on the rounds so far (`forerun.engine.forecast`). The window begins small, and grows up to
    four times a round while that pays and a failure would cost little. Where no width is predicted to beat
    single steps, the rest is taken sequentially, and `note` says why.

    Args:
        limit: largest width.
    """

    limit: int = 512

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"Auto(limit={self.limit}) holds no step; pass a limit of 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        if not log:
            return self._begin(length)
        return 1 if len(log) <= _singles(length) else self._best(log, length)

    def note(self, log: Sequence[Round], length: int) -> str | None:
        costs, gains, last = Costs.of(log), Gains.of(log), log[-1]
        if length - last.start - last.accepted < LAST * length:
            return None
        return (
            f"Sequential from step {last.start + last.accepted} on: a round of {last.width} steps costs "
            f"{costs(last.width) / max(costs(1), TINY):.1f} times a round of one and advances "
            f"{gains(last.width):.1f} steps."
        )

    def _begin(self, length: int) -> int:
        """The first width above one: two such rounds may advance one step each and cost as much as all their steps."""
        return max(min(START, self.limit, 1 + int(_stake(length) / 2)), 1)

    def _best(self, log: Sequence[Round], length: int) -> int:
        """The width of the next round; 0 where none is predicted to win."""
        costs, gains, last = Costs.of(log), Gains.of(log), log[-1]
        left = length - last.start - last.accepted
        # after the first single steps, and where the check went back, the window opens anew
        now = min(last.width if last.width > 1 else self._begin(length), max(left, 1))
        top = min(self.limit, left, GROWTH * now)
        if any(entry.width > now for entry in log[-MEMORY:]):
            top = now  # it was wider, and that did not pay
        stake = (_stake(length) + gains(now)) * costs(1)
        choices = _choices(costs, now, top, stake)
        if costs.widths[-1] <= now < max(choices, default=0) and gains(now) >= RIPE * now:
            return next(width for width in choices if width >= min(2 * now, max(choices)))  # try what is beyond
        # what a first wide round shows is not yet what it brings: shrink by no more than a half a round
        price = {width: costs(width) / gains(width) for width in choices if 2 * width >= now}
        best = min(price, key=price.__getitem__, default=1)
        if not price or price[best] >= costs(1):
            if now > START:
                return now // 2
            in_doubt = gains(now) > CLEAR and costs.count(now) <= 1  # the first round of a width may be cold
            return now if in_doubt and now > 1 else 0
        return best if price[best] < KEEP * price[now] else now


def _choices(costs: Costs, now: int, top: int, stake: float) -> list[int]:
    """Widths above one to choose from, with the present one; none that may cost more than what can be staked."""
    fits = [width for width in sorted({*LADDER, top}) if 1 < width <= top and width != now]
    return [now] * (now > 1) + [width for width in fits if width <= costs.widths[-1] or costs.most(width) <= stake]


def _singles(length: int) -> int:
    """Rounds of one step after the first, to know what a single step costs when warm."""
    return 1 if length < 200 else 2


def _stake(length: int) -> float:
    """What may be lost on trying a width, in single steps."""
    return max(STAKE * length, 2.0)
