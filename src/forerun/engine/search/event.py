"""What a callback sees after an evaluation of a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from forerun.engine.numerics.tree import Tree

if TYPE_CHECKING:
    from forerun.engine.search.checkpoint import LimitCheckpoint


@dataclass(frozen=True)
class LimitEvent:
    """An evaluation of a map that has just ended, as callbacks see it.

    Attributes:
        evaluations: calls of the map so far.
        residual: of every problem `(*batch,)`, in the norm of the tolerance.
        going: problems that go on.
        checkpoint: makes a `LimitCheckpoint` of what is known.
        read_state: gives the state whose residual this is; those that have ended are in it as they ended.
    """

    evaluations: int
    residual: Tensor
    going: int
    checkpoint: Callable[[], LimitCheckpoint]
    read_state: Callable[[], Tree]

    @property
    def state(self) -> Tree:
        """The state that was evaluated."""
        return self.read_state()


def ignore_limit_event(event: LimitEvent) -> None:
    """Do nothing after an evaluation: the callback of whoever passes none."""
