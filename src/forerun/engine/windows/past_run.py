"""PastRun: what a run leaves for the next one of the same kind, so that this begins where it ended."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

TRIALS = 2  # that have to fail before a run begins declined
DECLINED_RUNS = 64  # that begin so before the next trial, as machines and networks change


@dataclass(frozen=True)
class PastRun:
    """What was learnt in runs of one kind.

    Attributes:
        widths: of windows whose rounds were measured, ascending; the first is 1.
        seconds: time of a round of each.
        counts: number of measurements of each.
        single: time of a step of the plain loop.
        width: of the window that advanced most in the best of the last runs; 1 where the last one lost.
        ratio: its time over that of single steps; infinite where the last one lost.
        reason: why the last run lost; None where it won.
        trials: runs that lost one after another.
        declined: runs that have begun declined since the last trial.
    """

    widths: tuple[int, ...]
    seconds: tuple[float, ...]
    counts: tuple[int, ...]
    single: float
    width: int = 1
    ratio: float = inf
    reason: str | None = None
    trials: int = 0
    declined: int = 0

    @property
    def is_declined(self) -> bool:
        """Whether the next run begins declined: not after one trial, which may have been cold, and not for ever."""
        return self.trials >= TRIALS and self.declined < DECLINED_RUNS


def select_winner(past: PastRun | None) -> PastRun | None:
    """Return a past run if it won: nothing is believed of one that lost, as it may have been cold."""
    if past is None or past.reason is not None:
        return None
    return past
