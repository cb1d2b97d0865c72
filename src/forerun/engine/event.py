"""What a callback sees after a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.methods import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rounds import Round


@dataclass(frozen=True)
class RoundEvent:
    """A round that has just ended, as callbacks see it.

    Attributes:
        round: the round: its window, its residuals, its time.
        step: steps accepted so far.
        length: steps of the process.
        state: the state of step `step`.
        checkpoint: makes a `Checkpoint` of what is accepted.
        update: what the method made of the window: its newest outputs, and the path that they lead to.
    """

    round: Round
    step: int
    length: int
    state: Tree
    checkpoint: Callable[[], Checkpoint]
    update: WindowUpdate

    @property
    def states(self) -> Sequence[Tree]:
        """The states of the steps accepted in this round, the last of them `state`."""
        return self.update.states[: self.round.accepted]
