"""Retraced: the inputs of an earlier pass over the same path, for a run that is sent back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix
from forerun.engine.methods import Evaluate


@dataclass(frozen=True)
class Retraced(Guess):
    """Inputs where a check estimates the sequential run to be, from a step on: going back does not begin from nothing.

    Args:
        start: the first step whose input is known.
        rows: `(n, *batch, D)`, the inputs of the steps from `start` on.
        before: fills the slots before that step.
    """

    start: int
    rows: Tensor
    before: Guess

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        first_known = prefix.start + 1
        if not self.start <= first_known <= stop <= self.start + len(self.rows):
            return self.before.enter(prefix, min(stop, max(self.start, first_known)), evaluate)
        known_rows = self.rows[first_known - self.start : stop - self.start]
        states = [prefix.state] * (stop - prefix.start)
        return states, torch.cat([prefix.observe_state().unsqueeze(0), known_rows])
