"""Window: how many steps are in flight together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.forecast import Costs, Gains, joined
from forerun.engine.rounds import Round

START, GROWTH = 8, 4  # the first width above one, and how many times wider the next round may be
STAKE = 0.08  # share of a sequential run that may be lost on trying
KEEP = 0.95  # of the present price that another width must promise
CLEAR = 1.1  # steps a round must advance, for its cost to matter
MEMORY = 24  # rounds for which a window that was narrowed stays so
LADDER = [base << power for power in range(12) for base in (2, 3)]  # 2 3 4 6 8 12 16 ...
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
    """Placeholder until the measured window lands."""

    limit: int = 64

    def width(self, log: Sequence[Round], length: int) -> int:
        return self.limit


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
        if len(log) <= _singles(length) or _declined(log, length):
            return 1
        return self._best(log, length)

    def note(self, log: Sequence[Round], length: int) -> str | None:
        found = next((index for index in range(len(log)) if _declined(log[: index + 1], length)), None)
        if found is None or log[found - 1].width == 1:
            return None
        past, last = log[:found], log[found - 1]
        costs, gains = Costs.of(past), Gains.of(past)
        return (
            f"Sequential from step {log[found].start} on: a round of {last.width} steps costs "
            f"{costs(last.width) / max(costs(1), TINY):.1f} times a round of one and advances {gains(last.width):.1f} steps."
        )

    def _begin(self, length: int) -> int:
        """The first width above one: two such rounds may advance one step each and cost as much as all their steps."""
        return max(min(START, self.limit, 1 + int(_stake(length) / 2)), 1)

    def _best(self, log: Sequence[Round], length: int) -> int:
        """The width of the next round; 1 where none is predicted to win."""
        costs, gains, last = Costs.of(log), Gains.of(log), log[-1]
        left = length - last.start - last.accepted
        # after the first single steps, and where the check went back, the window opens anew
        now = min(last.width if last.width > 1 else self._begin(length), max(left, 1))
        price = {width: costs(width) / gains(width) for width in self._choices(log, now, left, costs, gains, length)}
        best = min(price, key=price.__getitem__, default=1)
        if not price or price[best] >= costs(1):
            in_doubt = gains(now) > CLEAR and costs.count(now) == 1  # the first round of a width may be cold
            return now if in_doubt else 1
        return best if price[best] < KEEP * price[now] else now

    def _choices(self, log: Sequence[Round], now: int, left: int, costs: Costs, gains: Gains, length: int) -> list[int]:
        """Widths above one to choose from, with the present one."""
        top = min(self.limit, left, GROWTH * now)
        if any(entry.width > now for entry in log[-MEMORY:]):
            top = now  # it was wider, and that did not pay
        stake = _stake(length) * costs(1)
        known = gains(min(now, len(gains.total))) * costs(1)
        fits = [width for width in [*LADDER, top] if 1 < width <= top and width != now]
        return [now] * (now > 1) + [w for w in fits if w <= costs.widths[-1] or costs.most(w) - known <= stake]


def _singles(length: int) -> int:
    """Rounds of one step after the first, to know what a single step costs when warm."""
    return 1 if length < 200 else 2


def _stake(length: int) -> float:
    """What may be lost on trying a width, in single steps."""
    return max(STAKE * length, 2.0)


def _declined(log: Sequence[Round], length: int) -> bool:
    """Whether the log ends in a single step that was chosen: once declined, for good."""
    if len(log) < 2 or len(log) <= _singles(length) + 1:
        return False
    before, last = log[-2], log[-1]
    if not joined(before, last):
        return _declined(log[:-1], length)
    return last.width == 1 and last.start + 1 < length
