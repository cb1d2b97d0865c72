"""Known: inputs known beforehand, a warm start."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix
from forerun.engine.methods import Evaluate
from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class Known(Guess):
    """Inputs known beforehand for the whole path, such as those of an earlier run: a warm start.

    Args:
        inputs: tree like the input with a leading axis of `length`.
    """

    inputs: Tree

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        problem = prefix.problem
        rows = problem.input_layout.pack(self.inputs, problem.length)
        first = prefix.observe_state().unsqueeze(0)
        states = [prefix.state] * (stop - prefix.start)
        return states, torch.cat([first, rows[prefix.start + 1 : stop]])
