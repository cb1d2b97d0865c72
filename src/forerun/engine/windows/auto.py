"""Auto: the width that minimises the predicted time, from what the rounds so far cost and how far they got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window
from forerun.engine.windows.past_run import PastRun, select_winner
from forerun.engine.windows.round_cost import RoundCost
from forerun.engine.windows.round_ledger import RoundLedger, stake_steps
from forerun.engine.windows.round_progress import RoundProgress
from forerun.engine.windows.run_summary import summarise_run

FIRST_WIDTH, LONG_FIRST_WIDTH = 8, 16  # above one, at most; the second where it takes less than half of the stake
MAX_GROWTH = 3  # times wider that the next round may be
NARROWER_PRICE_RATIO, WIDER_PRICE_RATIO = 0.9, 0.85  # of the present price, that another width must promise
PROVEN_PRICE_RATIO = 0.8  # where the run began with the width that was best in the runs before it
FIRST_ROUND_RATIO = 1.5  # of the time of a warm round, that the first of all may take
SAME_PRICE_RATIO = 1.06  # of the lowest price, up to which a narrower window is taken
LOW_POWER = 0.2  # of the width, with which progress grows where far steps gain next to nothing
LOOK_BACK_ROUNDS = 24  # to look for a window in
CANDIDATE_WIDTHS = [base << power for power in range(12) for base in (2, 3)]  # 2 3 4 6 8 12 16 ...
UNNOTED_SHARE = 0.05  # of the path at whose end a decision to decline is not worth a word
SHORT_LEAD, LONG_LEAD, LONG_PATH = 2, 3, 200  # steps of the plain loop before a window opens, on paths from so long on
MIN_SECONDS = 1e-12


@dataclass(frozen=True)
class Auto(Window):
    """The width that minimises the predicted time, `c(W) / p(W)`: seconds of a round over the steps it advances.

    Both are measured on the rounds so far (`RoundCost`, `RoundProgress`). After a few single steps the window
    opens, so narrow that its failure would cost little, and moves to the width of the lowest price within reach. It
    declines where no width can win, or none promises to and the last rounds have lost half of what was at stake, some
    3 % of the path with what the check evaluated; and where the check sent the run back and another pass would cost
    more than that. `note` says why. `benchmarks/auto_loses_little.py` measures what is lost.

    Args:
        max_width: largest width.
        min_length: steps of the shortest path that is tried. Samplers of ten steps take seven to ten rounds
            (`benchmarks/fewer_steps_is_the_rival.py`).
        past: what the last run of the same kind has learnt; the engine fills it in.
    """

    max_width: int = 512
    min_length: int = 12
    past: PastRun | None = None

    def __post_init__(self) -> None:
        if self.max_width < 1:
            raise ValueError(
                f"Auto(max_width={self.max_width}) holds no step; pass a max_width of 1 (sequential) or more"
            )

    def width(self, log: Sequence[Round], length: int) -> int:
        if length < self.min_length:
            return 0
        if not log and self.past is not None and self.past.is_declined:
            return 0
        recent = log[-LOOK_BACK_ROUNDS:]
        if any(entry.in_order for entry in recent[1:]):
            return 0  # the check went back, but a run declines once for all
        if _is_closed(recent):
            return self._open_window(log, length)
        return self._choose_width(log, length)

    def lead_steps(self, length: int) -> int:
        if length < self.min_length or self._winner is not None:
            return 0
        return SHORT_LEAD if length < LONG_PATH else LONG_LEAD

    def recall(self, past: PastRun) -> Auto:
        return replace(self, past=past)

    def summarise(self, log: Sequence[Round], length: int, *, reason: str | None) -> PastRun | None:
        if length < self.min_length:
            return None
        return summarise_run(log, self.past, reason=reason and reason.partition(": ")[2])

    def declines(self, length: int) -> str | None:
        if length >= self.min_length:
            return None
        return (
            f"Sequential: {length} steps are too few to gain by taking them in parallel; "
            "window=Full() tries all the same."
        )

    def note(self, log: Sequence[Round], length: int) -> str | None:
        if length < self.min_length:
            return self.declines(length)
        if not log:
            return self._repeat_reason()
        last = log[-1]
        step = last.start + last.accepted
        if length - step < UNNOTED_SHARE * length:
            return None
        cost = RoundCost.from_log(log, self._winner)
        progress = RoundProgress.from_log(log)
        relative_cost = cost(last.width) / max(cost.single, MIN_SECONDS)
        return (
            f"Sequential from step {step} on: a round of {last.width} steps costs "
            f"{relative_cost:.1f} times a single step and advances {progress(last.width):.1f} steps."
        )

    @property
    def _winner(self) -> PastRun | None:
        """The past run, where it won."""
        return select_winner(self.past)

    def _repeat_reason(self) -> str | None:
        """Return why the last runs of the same kind declined."""
        if self.past is None:
            return None
        return f"Sequential, as in the last runs of this kind: {self.past.reason}"

    def _open_window(self, log: Sequence[Round], length: int) -> int:
        """Return the width where no window was open of late: a single step after one that was cold, then the first."""
        if self._winner is not None:
            return min(self._winner.width, self.max_width)
        if len(log) == 1 and not log[0].in_order:
            return 1
        return self._first_width(length)

    def _first_width(self, length: int) -> int:
        """Return a width above one whose failure is within the stake: a round may cost as much as its steps."""
        affordable = 1 + int(stake_steps(length))
        widest = LONG_FIRST_WIDTH if affordable >= 2 * LONG_FIRST_WIDTH else FIRST_WIDTH
        return max(min(widest, self.max_width, affordable), 1)

    def _choose_width(self, log: Sequence[Round], length: int) -> int:
        """Return the width of the next round; 0 where none is predicted to win."""
        cost = RoundCost.from_log(log, self._winner)
        if cost.widths[0] > 1:
            return 1  # a resumed run, or one whose first window was guessed, began wide
        progress = RoundProgress.from_log(log)
        present = log[-1].width if log[-1].width > 1 else self._open_window(log, length)  # as the check went back
        ledger = RoundLedger.from_log(log, cost, length)
        prices = self._predict_prices(cost, progress, ledger, present=present, length=length)
        if not prices:
            return 0
        best = min(prices, key=prices.__getitem__)
        if _is_first_try(cost, prices, present, best):
            return present  # the first round of a width may be cold, and is no reason to go back
        if ledger.is_spent(prices[best]):
            return 0
        if _is_hopeless(cost, progress, prices):
            may_be_cold = _is_only_round(log) and not _is_hopeless(cost, progress, prices, ratio=FIRST_ROUND_RATIO)
            return present if may_be_cold and ledger.affords(cost(present)) else 0
        return self._weigh_move(progress, prices, present)

    def _weigh_move(self, progress: RoundProgress, prices: Mapping[int, float], present: int) -> int:
        """Return the best width if it promises enough to be moved to; else the present one."""
        best = min(prices, key=prices.__getitem__)
        if progress.power <= LOW_POWER:
            return min(_narrowest_of_the_best(prices), present)
        ratio = self._moving_ratio(wider=best > present)
        if present in prices and prices[best] > ratio * prices[present]:
            return present
        return best

    def _moving_ratio(self, *, wider: bool) -> float:
        """Return the part of the present price that another width must promise."""
        if self._winner is not None:
            return PROVEN_PRICE_RATIO
        return WIDER_PRICE_RATIO if wider else NARROWER_PRICE_RATIO

    def _predict_prices(
        self,
        cost: RoundCost,
        progress: RoundProgress,
        ledger: RoundLedger,
        *,
        present: int,
        length: int,
    ) -> dict[int, float]:
        """Return the predicted seconds a step, `c(W) / p(W)`, of the widths within reach that may be tried."""
        widest_measured = max(cost.widths[-1], present)
        prices = {}
        for width in self._reachable_widths(present, length):
            if width <= widest_measured or cost.cautious(width) <= ledger.affordable:
                prices[width] = cost(width) / progress(width)
        return prices

    def _reachable_widths(self, present: int, length: int) -> list[int]:
        """Return the widths above one within reach of the present one, itself among them if it is not too wide."""
        widest = min(self.max_width, MAX_GROWTH * present, length)
        candidates = sorted({*CANDIDATE_WIDTHS, present, widest})
        return [width for width in candidates if width <= max(widest, 2)]


def _is_closed(rounds: Sequence[Round]) -> bool:
    """Return whether all of some rounds were single steps, or steps of the plain loop."""
    return all(entry.width == 1 or entry.in_order for entry in rounds)


def _is_first_try(
    cost: RoundCost,
    prices: Mapping[int, float],
    present: int,
    best: int,
) -> bool:
    """Return whether the present width was measured once, and is left for a narrower one that promises to win."""
    if present not in prices or best > present:
        return False
    return cost.count_measurements(present) == 1 and prices[best] < cost.single


def _is_only_round(log: Sequence[Round]) -> bool:
    """Return whether one round of a window was taken."""
    return sum(entry.width > 1 and not entry.in_order for entry in log) == 1


def _is_hopeless(
    cost: RoundCost,
    progress: RoundProgress,
    widths: Iterable[int],
    *,
    ratio: float = 1.0,
) -> bool:
    """Return whether no round would win even if it advanced as far as any may, and took so much less time."""
    return all(cost(width) >= ratio * progress.ceiling(width) * cost.single for width in widths)


def _narrowest_of_the_best(prices: Mapping[int, float]) -> int:
    """Return the narrowest width whose price is nearly the lowest: it is the least work, and guesses the least far."""
    lowest = min(prices.values())
    return min(width for width, price in prices.items() if price <= SAME_PRICE_RATIO * lowest)
