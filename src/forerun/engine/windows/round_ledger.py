"""RoundLedger: what trying windows has cost a run so far, against the single steps that it stood for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from forerun.engine.rounds import Round
from forerun.engine.windows.round_cost import COST_TAIL_ROUNDS, RoundCost

STAKE_SHARE, STAKE_BASE_STEPS = 0.03, 1.0  # what may be lost on trying: of a sequential run, and so many steps besides
PATIENCE_SHARE = 0.5  # of the stake, that may be lost in a row while no width promises to win
SPENT_STAKES = 1.5  # that may be lost in a row whatever a width promises
KEPT_GAIN_SHARE = 0.5  # of what was gained before, that may be lost besides


@final
@dataclass(frozen=True)
class RoundLedger:
    """What a run has lost and gained on single steps so far, in seconds.

    Attributes:
        single: time of a single step.
        stake: what may be lost on trying.
        loss: by which the last rounds took longer than single steps, with what the check evaluated besides, since they
            last took as long.
        gain: by which the rounds before took less.
        balance: by which all rounds took longer than single steps; below zero where they took less.
        overdraft: by which the time so far is beyond that of the ordinary loop and the stake, where the check sent the
            run back; None where it did not.
        steps_left: of the path.
    """

    single: float
    stake: float
    loss: float
    gain: float
    balance: float
    overdraft: float | None
    steps_left: int

    @classmethod
    def from_log(cls, log: Sequence[Round], cost: RoundCost, length: int) -> RoundLedger:
        """Return the ledger of a log of at least one round."""
        last = log[-1]
        step = last.start + last.accepted
        single_steps = (step - log[0].start - log[0].accepted) * cost.single
        loss = _sum_losses(log, cost)
        stake = stake_steps(length) * cost.single
        balance = last.elapsed - log[0].elapsed - single_steps
        overdraft = None
        if _has_gone_back(log):
            overdraft = last.elapsed - length * cost.single - stake
        return cls(
            single=cost.single,
            stake=stake,
            loss=loss,
            gain=max(loss - balance, 0.0),
            balance=balance,
            overdraft=overdraft,
            steps_left=length - step,
        )

    @property
    def affordable(self) -> float:
        """Seconds that the next round may take: one step at least is accepted for them."""
        return self.stake - self.loss + self.single

    def affords(self, seconds: float) -> bool:
        """Return whether a round that takes so long can be lost without an end of the trial."""
        return self.loss + seconds - self.single <= PATIENCE_SHARE * self.stake

    def is_spent(self, best_price: float) -> bool:
        """Return whether trying has to end, where the best width promises so many seconds a step."""
        if self.overdraft is not None and self.overdraft + self.steps_left * best_price > 0:
            return True
        if self.loss > SPENT_STAKES * self.stake + KEPT_GAIN_SHARE * self.gain:
            return True
        if self.overdraft is None and self.balance > SPENT_STAKES * self.stake:
            return True
        return best_price >= self.single and self.loss > PATIENCE_SHARE * self.stake


def stake_steps(length: int) -> float:
    """Return what may be lost on trying a width, in single steps."""
    return STAKE_BASE_STEPS + STAKE_SHARE * length


def _sum_losses(log: Sequence[Round], cost: RoundCost) -> float:
    """Return the seconds by which the last rounds took longer than single steps, since they last took as long."""
    loss = 0.0
    previous: Round | None = None
    for entry in log[-COST_TAIL_ROUNDS:]:
        if entry.width > 1:
            apart = 0.0 if previous is None else entry.elapsed - previous.elapsed - entry.timing.total
            single_steps = entry.accepted * cost.single
            loss = max(loss + cost(entry.width) + max(apart, 0.0) - single_steps, 0.0)
        previous = entry
    return loss


def _has_gone_back(log: Sequence[Round]) -> bool:
    """Return whether the check sent the run back of late."""
    return any(not entry.continues(previous) for previous, entry in pairwise(log[-COST_TAIL_ROUNDS:]))
