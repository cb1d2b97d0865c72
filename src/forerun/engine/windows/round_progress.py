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
WIDTH_POWER = 0.7  # of the width, with which what a round advances grows
UNKNOWN_RATE = 1.0  # of a process that nothing is known about
FAST_SHARE = 0.7  # of its steps that a round advances, where a wider one is expected to do so too
NONFINITE_RESIDUAL = 1e30  # stands for residuals that are not finite


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
    def from_log(cls, log: Sequence[Round]) -> RoundProgress:
        """Return the progress of the last rounds in a log of at least one round."""
        advances = _measure_advances(log[-FIRST_RESIDUAL_ROUNDS:])
        rates = [advance.steps / advance.width**WIDTH_POWER for advance in advances if advance.width > 1]
        if not rates:
            return cls(UNKNOWN_RATE)
        return cls(fmean(rates))

    def __call__(self, width: int) -> float:
        """Return the expected `p(width)`."""
        return float(min(max(self.rate * width**WIDTH_POWER, 1.0), width))

    def extrapolate(self, width: int, present_width: int) -> float:
        """Return the expected `p(width)`; in proportion to it beyond the present width, where that settles fast."""
        present = self(present_width)
        if width > present_width and present >= FAST_SHARE * present_width:
            return present * width / present_width
        return self(width)


class RoundAdvance(NamedTuple):
    """How far a round got: its width, and the steps by which the credit of all steps rose."""

    width: int
    steps: float


def _measure_advances(rounds: Sequence[Round]) -> list[RoundAdvance]:
    """Return how far the last rounds got."""
    advances: list[RoundAdvance] = []
    first_residuals: list[float] = []  # those that the steps of the window began with
    credit = 0.0  # of the steps that the round before did not accept
    previous: Round | None = None
    first_measured = len(rounds) - AVERAGED_ROUNDS - 1  # one more, for the credit before
    for index, entry in enumerate(rounds):
        if previous is None or not entry.continues(previous):
            first_residuals, credit = [], 0.0
        else:
            first_residuals = first_residuals[previous.accepted : previous.accepted + entry.width]
        first_residuals += entry.residuals[len(first_residuals) :]
        previous = entry
        if index < first_measured:
            continue
        remaining_credit = _sum_credit(entry, first_residuals)
        advances.append(RoundAdvance(entry.width, entry.accepted + remaining_credit - credit))
        credit = remaining_credit
    return advances[-AVERAGED_ROUNDS:]


def _sum_credit(entry: Round, first_residuals: Sequence[float]) -> float:
    """Return the credit of all steps of a round that it did not accept."""
    threshold = entry.threshold
    residuals = _largest_so_far(entry.residuals)[entry.accepted :]
    first_residuals = _largest_so_far(first_residuals)[entry.accepted :]
    pairs = zip(residuals, first_residuals, strict=True)
    return sum(
        1 - logarithm(residual / threshold) / logarithm(first / threshold)
        for residual, first in pairs
        if 0 < threshold < residual < first
    )


def _largest_so_far(residuals: Sequence[float]) -> list[float]:
    """Return the largest residual up to each step: what comes after a step that still moves is not settled."""
    if not isfinite(sum(residuals)):
        residuals = [size if size < NONFINITE_RESIDUAL else NONFINITE_RESIDUAL for size in residuals]
    return [*accumulate(residuals, max)]
