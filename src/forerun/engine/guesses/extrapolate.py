"""Extrapolate: sweep on with the output continued along its trend."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix, sweep_on
from forerun.engine.guesses.hold import Hold
from forerun.engine.methods import Evaluate


@dataclass(frozen=True)
class Extrapolate(Guess):
    """Sweep on with the output continued along its trend over the last `span` steps, damped by `decay` a step."""

    span: int = 4
    decay: float = 0.8

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        outputs = prefix.outputs
        if outputs is None or len(outputs) < 2:
            return Hold().enter(prefix, stop, evaluate)
        span = min(self.span, len(outputs) - 1)
        trend = (outputs[-1] - outputs[-1 - span]) / span
        decays = trend.new_full((stop - prefix.start - 1,), self.decay)
        reach = decays.cumprod(0).cumsum(0).reshape(-1, *[1] * trend.dim())
        return sweep_on(prefix, outputs[-1] + reach * trend)
