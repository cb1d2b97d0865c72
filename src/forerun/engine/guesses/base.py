"""Guess: what stands in a slot before its step was ever evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from forerun.engine.methods import Evaluate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import JoinedStates, Problem, advance_outputs

FilledSlots = tuple[Sequence[Tree], Tensor]  # states of some steps, and their input rows (n, *batch, D)


@dataclass(frozen=True)
class KnownPrefix:
    """Where the known part of the window ends, and what is known there.

    Attributes:
        problem: the process, in rows.
        start: the first step to fill.
        state: of that step.
        outputs: `(K, *batch, E)`, the newest outputs of the steps before it; None before the first round.
    """

    problem: Problem
    start: int
    state: Tree
    outputs: Tensor | None

    def observe_state(self) -> Tensor:
        """Return the input row `(*batch, D)` of the first step to fill."""
        return self.problem.observe(self.state)


class Guess(ABC):
    """How the slots that enter the window are filled."""

    @abstractmethod
    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        """Return states and input rows of the steps `prefix.start .. stop-1`; of the first alone if unknown.

        `evaluate` may be called; each call is a round.
        """


def fill_first(prefix: KnownPrefix) -> FilledSlots:
    """Return the first slot after the prefix alone, which holds its state."""
    return [prefix.state], prefix.observe_state().unsqueeze(0)


def sweep_on(prefix: KnownPrefix, outputs: Tensor) -> FilledSlots:
    """Return the slots from the end of the prefix on, by the guessed outputs `(K, *batch, E)` of their steps."""
    if not len(outputs):
        return fill_first(prefix)
    states, inputs = advance_outputs(prefix.problem, prefix.start, prefix.state, outputs)
    return JoinedStates([prefix.state], states), inputs
