"""Copy: the last state in every new slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix
from forerun.engine.methods import Evaluate


@dataclass(frozen=True)
class Copy(Guess):
    """Copy the last state into the new slots (ParaDiGMS, arXiv 2305.16317, Algorithm 1)."""

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        count = stop - prefix.start
        row = prefix.observe_state()
        rows = torch.stack([row] * count)  # not expanded, which evaluate could not differentiate
        return [prefix.state] * count, rows
