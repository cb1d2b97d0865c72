"""The check: how far the accepted path may have drifted from the sequential run.

A small residual proves little: an unstable path has tiny residuals and a wrong end. So a *shadow* walks
beside the accepted path, where the sequential run is estimated to be. The output of an accepted step was
evaluated at an input that then moved by `m`; it was corrected by `S m` where the truth is `J m`. With an
estimate of `J` from the evaluations that were made anyway (`engine/jacobian.py`), the shadow `y` advances by

    y_{i+1} = advance(i, y_i, o_i + S m_i + (J - S) m_i + J (observe(y_i) - observe(x_i)))

that is `d_{i+1} = A_i d_i + r_i` for the distance `d = y - x`, through the process's own `advance`. No
evaluation is spent. It is an estimate: `benchmarks/the_check_tells_the_deviation.py` says how good.
"""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.jacobian import Carried, Jacobian, estimate
from forerun.engine.methods.base import Evaluated, Front, Iterate
from forerun.engine.sweep import apply, sweep
from forerun.engine.tree import Tree

MEMORY = 5  # evaluations of a step that are kept to estimate its Jacobian: four differences
ANCHORS = 16  # places along the path to go back to


@dataclass(frozen=True)
class Anchor:
    """A place to go back to."""

    step: int
    state: Tree
    shadow: Tree


@dataclass(frozen=True)
class Trail:
    """The shadow at the accepted frontier, and what is needed to follow it further or go back."""

    shadow: Tree
    anchors: tuple[Anchor, ...]
    evaluations: tuple[Evaluated, ...] = ()  # the newest first
    carried: Carried | None = None

    @classmethod
    def start(cls, step: int, state: Tree, shadow: Tree | None = None) -> Trail:
        """A trail that begins at an accepted state, on the sequential path unless a shadow is given."""
        shadow = state if shadow is None else shadow
        return cls(shadow, (Anchor(step, state, shadow),))

    def follow(self, front: Front, iterate: Iterate, accepted: int) -> Trail:
        """The trail at step `front.start + accepted`."""
        seen = (iterate.evaluated, *self.evaluations)[:MEMORY]
        jacobian, carried = estimate(seen, front.start, accepted, iterate.slopes, self.carried)
        shadow = _advance(front, iterate, accepted, jacobian, self.shadow)
        stop, stride = front.start + accepted, -(-front.problem.length // ANCHORS)
        anchors = self.anchors
        if stop // stride > anchors[-1].step // stride:
            anchors = (*anchors, Anchor(stop, iterate.states[accepted - 1], shadow))
        return Trail(shadow, anchors, seen, carried)


def _advance(front: Front, iterate: Iterate, accepted: int, jacobian: Jacobian, shadow: Tree) -> Tree:
    """The shadow after the accepted steps of a front."""
    problem, slopes = front.problem, iterate.slopes
    used, around, moves = iterate.outputs[:accepted], iterate.inputs[:accepted], iterate.moves[:accepted]
    defects = jacobian.beyond(moves) if slopes is None else jacobian.beyond(moves, apply(slopes[:accepted], moves))
    if jacobian.slopes is not None:
        return sweep(problem, front.start, shadow, outputs=used + defects, slopes=jacobian.slopes, around=around).states[-1]
    for index in range(accepted):
        distance = problem.observe(shadow) - around[index]
        shadow = problem.advance(front.start + index, shadow, used[index] + defects[index] + jacobian.at(index, distance))
    return shadow
