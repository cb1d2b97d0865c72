"""The summary of a run: what the next one of its kind shall begin with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from forerun.engine.rounds import Round
from forerun.engine.windows.past_run import PastRun, select_winner
from forerun.engine.windows.round_cost import RoundCost

LOST_RATIO = 1.04  # of the time of single steps, from which on a run has lost, whatever it promised on its way
WON_RATIO = 0.97  # of that time, up to which a run has won, although it declined on its way
FORGOTTEN_RATIO = 1.02  # by which the best ratio grows from run to run, so that it is not held for ever
MIN_PLAIN_SECONDS = 1e-12


def summarise_run(log: Sequence[Round], past: PastRun | None, *, reason: str | None) -> PastRun | None:
    """Return what a run leaves; None where it shows nothing new.

    Args:
        log: all rounds, at least one.
        past: what it began with.
        reason: why it declined; None where it did not.
    """
    if all(entry.in_order for entry in log):
        return past and replace(past, declined=past.declined + 1)
    winner = select_winner(past)
    cost = RoundCost.from_log(log, winner)
    summary = PastRun(cost.widths, cost.seconds, cost.counts, cost.single)
    ratio = _compare_with_loop(log, cost.single)
    highest_ratio = LOST_RATIO if reason is None else WON_RATIO
    if ratio > highest_ratio:
        trials = past.trials if past else 0
        return replace(summary, reason=reason or _describe_loss(ratio), trials=trials + 1)
    if winner is not None and winner.ratio * FORGOTTEN_RATIO < ratio:
        return replace(summary, width=winner.width, ratio=winner.ratio * FORGOTTEN_RATIO)
    return replace(summary, width=_find_widest_advance(log), ratio=ratio)


def _compare_with_loop(log: Sequence[Round], single: float) -> float:
    """Return the time of a run over that of as many single steps, the first round left out, which may be cold."""
    steps = log[-1].start + log[-1].accepted - log[0].start - log[0].accepted
    return (log[-1].elapsed - log[0].elapsed) / max(steps * single, MIN_PLAIN_SECONDS)


def _describe_loss(ratio: float) -> str:
    return f"the last run took {ratio:.1f} times as long as single steps."


def _find_widest_advance(log: Sequence[Round]) -> int:
    """Return the width of the rounds that accepted most steps, all together."""
    steps: Counter[int] = Counter()
    for entry in log:
        if not entry.in_order:
            steps[entry.width] += entry.accepted
    return max(steps, key=steps.__getitem__)
