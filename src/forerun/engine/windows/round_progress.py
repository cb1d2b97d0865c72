"""RoundProgress: how far a round of some width gets, from the rounds so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from math import log as logarithm
from statistics import fmean
from typing import NamedTuple, final

from forerun.engine.rounds import Round

FIRST_RESIDUAL_ROUNDS = 24  # rounds back to look for the first residual of a step
AVERAGED_ROUNDS = 4  # the last, over which progress is averaged
TYPICAL_POWER = 0.7  # of the width, with which what a round advances grows, where nothing is known
TYPICAL_POWER_WEIGHT = 2.0  # rounds that the typical power stands for beside what was measured
UNCONFIRMED_CREDIT = 0.5  # of a step that has settled and waits for a second evaluation
NONFINITE_RESIDUAL = 1e30  # stands for residuals that are not finite


@final
@dataclass(frozen=True)
class RoundProgress:
    """Steps that a round advances by its width, `p(W) = p(V) (W/V)^a`, at least one and at most `W`.

    A step that is not accepted yet counts for the part of the way from its first residual `f` to the threshold that
    is done, its credit `1 - log(r / threshold) / log(f / threshold)`; so what a round advances is seen before steps are
    accepted. Slots do not depend on those after them: the credit that the near half of a window gains is what a window
    of half the width would gain, and that shows `a`.

    Attributes:
        steps: `p(V)`.
        width: `V`, the present width.
        power: `a`.
        is_measured: whether a round of this window shows it; where not, it is what is typical.
        waits: whether steps that have settled wait for a second evaluation, as a check lets them.
    """

    steps: float
    width: int
    power: float
    is_measured: bool = True
    waits: bool = False

    @classmethod
    def from_log(cls, log: Sequence[Round]) -> RoundProgress:
        """Return the progress of the last rounds in a log of at least one round."""
        rounds = log[-FIRST_RESIDUAL_ROUNDS:]
        gains = _measure_gains(rounds)
        if not gains:
            return cls(1.0, 1, TYPICAL_POWER, is_measured=False)
        width = gains[-1].width
        waits = any(_count_settled(entry) > entry.accepted for entry in rounds)
        settled_gains = [gain for gain in gains if not gain.is_opening]
        if not settled_gains:
            steps = min(max(gains[-1].steps, width**TYPICAL_POWER), width)
            return cls(steps, width, TYPICAL_POWER, is_measured=False, waits=waits)
        power = _measure_power(settled_gains)
        steps = fmean(gain.steps * (width / gain.width) ** power for gain in settled_gains)
        return cls(min(max(steps, 1.0), width), width, power, waits=waits)

    def __call__(self, width: int) -> float:
        """Return the expected `p(width)`."""
        steps: float = self.steps * (width / self.width) ** self.power
        return max(min(steps, self.ceiling(width)), 1.0)

    def ceiling(self, width: int) -> float:
        """Return the most that rounds of a width may advance on average."""
        return width / 2 if self.waits else width


class RoundGain(NamedTuple):
    """What the credit of a round's steps rose by.

    Attributes:
        width: of the round.
        steps: by which the credit of all steps rose.
        near_steps: by which that of the near half of the window rose.
        is_opening: the window has just opened, or widened, so that most of its steps had no round to settle in.
    """

    width: int
    steps: float
    near_steps: float
    is_opening: bool


def _measure_power(gains: Sequence[RoundGain]) -> float:
    """Return the power of the width with which progress grows, between 0 and 1."""
    steps = sum(gain.steps for gain in gains)
    near_steps = sum(gain.near_steps for gain in gains)
    width = fmean(gain.width for gain in gains)
    near_width = fmean(_near_half(gain.width) for gain in gains)
    power = TYPICAL_POWER
    if steps > 0 and near_steps > 0:
        power = logarithm(steps / near_steps) / logarithm(width / near_width)
    weight = TYPICAL_POWER_WEIGHT / len(gains)
    return (min(max(power, 0.0), 1.0) * len(gains) + TYPICAL_POWER * weight) / (len(gains) + weight)


def _near_half(width: int) -> int:
    """Return how many slots of a window are its near half: at least one, and not all."""
    return max(width // 2, 1)


def _measure_gains(rounds: Sequence[Round]) -> list[RoundGain]:
    """Return what the last rounds of more than one step gained."""
    gains: list[RoundGain] = []
    first_residuals: list[float] = []  # those that the steps of the window began with
    credits_before: list[float] = []  # of the steps that the round before did not accept
    previous: Round | None = None
    for entry in rounds:
        if previous is None or not entry.continues(previous):
            first_residuals, credits_before = [], []
        else:
            first_residuals = first_residuals[previous.accepted : previous.accepted + entry.width]
        first_residuals += entry.residuals[len(first_residuals) :]
        credit = _credit_steps(entry, first_residuals)
        if entry.width > 1 and not entry.in_order:
            has_opened = previous is None or 2 * previous.width < entry.width
            gains.append(_compare_credit(entry.width, credit, credits_before[: entry.width], has_opened))
        credits_before = credit[entry.accepted :]
        previous = entry
    return gains[-AVERAGED_ROUNDS:]


def _compare_credit(
    width: int, credit: Sequence[float], credits_before: Sequence[float], is_opening: bool
) -> RoundGain:
    """Return what a round gained, from the credit of its steps before and after."""
    unknown = [0.0] * (width - len(credits_before))
    rises = [now - before for now, before in zip(credit, [*credits_before, *unknown], strict=True)]
    return RoundGain(width, sum(rises), sum(rises[: _near_half(width)]), is_opening)


def _count_settled(entry: Round) -> int:
    """Return how many leading steps of a round moved by no more than the threshold."""
    count = 0
    for residual in entry.residuals:
        if not residual <= entry.threshold:
            break
        count += 1
    return count


def _credit_steps(entry: Round, first_residuals: Sequence[float]) -> list[float]:
    """Return the credit of every step of a round: 1 where it was accepted."""
    residuals = _largest_so_far(entry.residuals)[entry.accepted :]
    first_residuals = _largest_so_far(first_residuals)[entry.accepted :]
    pairs = zip(residuals, first_residuals, strict=True)
    credit = [_credit_step(residual, first, entry.threshold) for residual, first in pairs]
    return [*([1.0] * entry.accepted), *credit]


def _credit_step(residual: float, first: float, threshold: float) -> float:
    """Return the credit of a step that was not accepted."""
    if residual <= threshold:
        return UNCONFIRMED_CREDIT
    if 0 < threshold < residual < first:
        return 1 - logarithm(residual / threshold) / logarithm(first / threshold)
    return 0.0


def _largest_so_far(residuals: Sequence[float]) -> list[float]:
    """Return the largest residual up to each step: what comes after a step that still moves is not settled."""
    if not isfinite(sum(residuals)):
        residuals = [size if size < NONFINITE_RESIDUAL else NONFINITE_RESIDUAL for size in residuals]
    return [*accumulate(residuals, max)]
