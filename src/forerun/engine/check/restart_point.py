"""RestartPoint: a step along the path to which a run can go back, and where such points lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.numerics.tree import Tree

RESTART_POINT_COUNT: Final = 16  # along the whole path


@dataclass(frozen=True)
class RestartPoint:
    """A step to go back to.

    Attributes:
        step: the step.
        state: its accepted state.
        shadow: its state where the sequential run is estimated to be.
        jacobian: the estimate of the step before it; None where there is none.
    """

    step: int
    state: Tree
    shadow: Tree
    jacobian: Jacobian | None = None


def is_restart_due(
    step: int,
    last_step: int,
    length: int,
) -> bool:
    """Whether a path of `length` steps needs a restart point at `step`, if its last one is at `last_step`."""
    stride = -(-length // RESTART_POINT_COUNT)
    return step // stride > last_step // stride
