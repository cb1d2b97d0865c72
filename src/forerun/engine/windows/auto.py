"""Auto: the width that minimises the predicted time, from what the rounds so far cost and how far they got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window
from forerun.engine.windows.round_cost import RoundCost, sum_losses
from forerun.engine.windows.round_progress import RoundProgress

FIRST_WIDTH = 8  # above one, at most
MAX_GROWTH = 8  # times wider that the next round may be
MAX_WIDTH_PER_ADVANCE = 6  # times what a round advances, the most that is worth holding: far steps are guessed long ago
STAKE_SHARE, MIN_STAKE_STEPS = (
    0.08,
    2.0,
)  # what may be lost on trying: of a sequential run, and at least so many steps
PATIENCE_SHARE, PATIENCE_STEPS = (
    0.5,
    5.0,
)  # of the stake, and steps, that may be lost in a row before giving up
NARROWER_PRICE_RATIO, WIDER_PRICE_RATIO = (
    0.85,
    0.9,
)  # of the present price, that another width must promise
LOOK_BACK_ROUNDS = 24  # to look for a window in
CANDIDATE_WIDTHS = [base << power for power in range(12) for base in (2, 3)]  # 2 3 4 6 8 12 16 ...
UNNOTED_SHARE = 0.05  # of the path at whose end a decision to decline is not worth a word
MIN_SECONDS = 1e-12
LONG_PATH = 200  # steps from which on two warm single steps are measured, not one


@dataclass(frozen=True)
class Auto(Window):
    """The width that minimises the predicted time, `c(W) / p(W)`: seconds of a round over the steps it advances.

    Both are measured on the rounds so far (`RoundCost`, `RoundProgress`). After a few single steps the window
    opens, so narrow that its failure would cost little, and moves to the width of the lowest price within reach: half
    the present one at least, and no more than several times what a round advances. It declines where no width promises
    to beat single steps and the last rounds have lost as much as was at stake; `note` says why.

    Args:
        max_width: largest width.
        min_length: steps of the shortest path that is tried. Samplers of ten steps take seven to ten rounds
            (`benchmarks/fewer_steps_is_the_rival.py`).
    """

    max_width: int = 512
    min_length: int = 12

    def __post_init__(self) -> None:
        if self.max_width < 1:
            raise ValueError(
                f"Auto(max_width={self.max_width}) holds no step; pass a max_width of 1 (sequential) or more"
            )

    def width(self, log: Sequence[Round], length: int) -> int:
        if length < self.min_length:
            return 0
        recent = log[-LOOK_BACK_ROUNDS:]
        if all(entry.width == 1 for entry in recent):
            return self._open_window(log, length)
        if any(entry.in_order for entry in recent):
            return 0  # the check went back, but a run declines once for all
        return self._choose_width(log, length)

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
        last = log[-1]
        step = last.start + last.accepted
        if length - step < UNNOTED_SHARE * length:
            return None
        cost = RoundCost.from_log(log)
        progress = RoundProgress.from_log(log)
        relative_cost = cost(last.width) / max(cost.single, MIN_SECONDS)
        return (
            f"Sequential from step {step} on: a round of {last.width} steps costs "
            f"{relative_cost:.1f} times a single step and advances {progress(last.width):.1f} steps."
        )

    def _open_window(self, log: Sequence[Round], length: int) -> int:
        """Return the width where no window was open of late: single steps after the first round, then the first."""
        if 0 < len(log) <= _warm_single_steps(length):
            return 1
        return self._first_width(length)

    def _first_width(self, length: int) -> int:
        """Return a width above one whose failure is within the stake: two such rounds may advance one step each."""
        affordable = 1 + int(_stake_steps(length) / 2)
        return max(min(FIRST_WIDTH, self.max_width, affordable), 1)

    def _choose_width(self, log: Sequence[Round], length: int) -> int:
        """Return the width of the next round; 0 where none is predicted to win."""
        cost = RoundCost.from_log(log)
        if cost.widths[0] > 1:
            return 1  # a resumed run, or one whose first window was guessed, began wide
        progress = RoundProgress.from_log(log)
        present = log[-1].width
        if present == 1:
            present = self._first_width(length)  # where the check went back, it opens again
        stake = _stake_steps(length) * cost.single
        loss = sum_losses(log, cost)
        affordable = stake - loss + progress(present) * cost.single
        prices = self._predict_prices(
            cost,
            progress,
            present=present,
            affordable=affordable,
            length=length,
        )
        if not prices:
            return 0
        best = min(prices, key=prices.__getitem__)
        is_first_try = cost.count_measurements(present) == 1
        if is_first_try and present in prices and best <= present:
            return present  # the first round of a width may be cold, and is no reason to go back
        patience = min(PATIENCE_SHARE * stake, PATIENCE_STEPS * cost.single)
        if prices[best] >= cost.single and loss > patience:
            return 0
        return _keep_or_move(prices, present, best)

    def _predict_prices(
        self,
        cost: RoundCost,
        progress: RoundProgress,
        *,
        present: int,
        affordable: float,
        length: int,
    ) -> dict[int, float]:
        """Return the predicted seconds a step, `c(W) / p(W)`, of the widths within reach that may be tried."""
        widest_measured = max(cost.widths[-1], present)
        prices = {}
        for width in self._reachable_widths(progress, present, length):
            if width <= widest_measured or cost.cautious(width) <= affordable:
                prices[width] = cost(width) / progress.extrapolate(width, present)
        return prices

    def _reachable_widths(self, progress: RoundProgress, present: int, length: int) -> list[int]:
        """Return the widths above one within reach of the present one, itself among them if it is not too wide."""
        worth_holding = max(
            MAX_WIDTH_PER_ADVANCE * progress(present),
            self._first_width(length),
            present / 2,
        )
        widest = min(self.max_width, MAX_GROWTH * present, int(worth_holding))
        narrowest = max(present / 2, 2)
        candidates = sorted({*CANDIDATE_WIDTHS, present, widest})
        return [width for width in candidates if narrowest <= width <= max(widest, 2)]


def _keep_or_move(prices: Mapping[int, float], present: int, best: int) -> int:
    """Return the best width, or the present one where the best promises too little to move."""
    if present not in prices:
        return best
    ratio = WIDER_PRICE_RATIO if best > present else NARROWER_PRICE_RATIO
    if prices[best] > ratio * prices[present]:
        return present
    return best


def _warm_single_steps(length: int) -> int:
    """Return how many rounds of one step are measured after the first, which is cold."""
    return 1 if length < LONG_PATH else 2


def _stake_steps(length: int) -> float:
    """Return what may be lost on trying a width, in single steps."""
    return max(STAKE_SHARE * length, MIN_STAKE_STEPS)
