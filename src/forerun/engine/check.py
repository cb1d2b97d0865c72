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

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.jacobian import Jacobian, estimate
from forerun.engine.methods.base import Evaluated, Front, Iterate
from forerun.engine.sweep import Problem, apply, sweep
from forerun.engine.tolerance import Tolerance
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
    """The shadow at the accepted frontier, and what is needed to follow it further or to go back."""

    shadow: Tree
    anchors: tuple[Anchor, ...]
    evaluations: tuple[Evaluated, ...] = ()  # the newest first
    jacobian: Jacobian | None = None  # of the last accepted step

    @classmethod
    def start(cls, step: int, state: Tree, shadow: Tree = None) -> Trail:
        """A trail from an accepted state on; on the sequential path itself unless a shadow is given."""
        shadow = state if shadow is None else shadow
        return cls(shadow, (Anchor(step, state, shadow),))

    def follow(self, front: Front, iterate: Iterate, accepted: int) -> Trail:
        """The trail at step `front.start + accepted`."""
        seen = (iterate.evaluated, *self.evaluations)[:MEMORY]
        slopes = None if iterate.slopes is None else iterate.slopes[:accepted]
        jacobian = estimate(seen, front.start, accepted, slopes, self.jacobian)
        shadow = _advance(front, iterate, accepted, jacobian, self.shadow)
        return Trail(shadow, self._anchored(front, iterate, accepted, shadow), seen, jacobian.split()[-1])

    def back(self, problem: Problem, tolerance: Tolerance, excess: float, asked: float) -> Trail:
        """The trail at the first step to blame for a deviation `excess` times what was asked.

        A drift that an anchor already shows may have been amplified by as much as the whole path shows, `excess`;
        so the last anchor is taken whose drift would still keep half of what was asked.
        """
        kept = [anchor for anchor in self.anchors if self._drift(problem, tolerance, anchor) * excess <= asked / 2]
        anchors = tuple(kept or self.anchors[:1])
        return Trail(anchors[-1].shadow, anchors)

    def deviation(self, problem: Problem, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Estimated distance `(*batch,)` of a state from the sequential run's, in the norm of the tolerance."""
        seen = problem.observe(state).unsqueeze(0)
        moves = problem.observe(self.shadow).unsqueeze(0) - seen
        return tolerance.norm(problem.steps(step, step + 1), moves, seen)[0]

    def _anchored(self, front: Front, iterate: Iterate, accepted: int, shadow: Tree) -> tuple[Anchor, ...]:
        stop, stride = front.start + accepted, -(-front.problem.length // ANCHORS)
        if stop // stride == self.anchors[-1].step // stride:
            return self.anchors
        return (*self.anchors, Anchor(stop, iterate.states[accepted - 1], shadow))

    def _drift(self, problem: Problem, tolerance: Tolerance, anchor: Anchor) -> float:
        here = replace(self, shadow=anchor.shadow)
        return worst(here.deviation(problem, tolerance, anchor.step, anchor.state))


def worst(sizes: Tensor) -> float:
    """The largest of some sizes, infinite where one is not a number, 0 where there are none."""
    return float(sizes.nan_to_num(torch.inf, torch.inf).max()) if sizes.numel() else 0.0


def _advance(front: Front, iterate: Iterate, accepted: int, jacobian: Jacobian, shadow: Tree) -> Tree:
    """The shadow after the accepted steps of a front."""
    problem = front.problem
    used, around, moves = (rows[:accepted] for rows in (iterate.outputs, iterate.inputs[:-1], iterate.moves))
    corrected = 0 if iterate.slopes is None else apply(iterate.slopes[:accepted], moves)
    outputs = used + jacobian.times(moves) - corrected
    if jacobian.base is not None and jacobian.base.shape[-1] > 1:
        # what lies beyond a whole matrix or diagonal is left out where it would cost the scan
        return sweep(problem, front.start, shadow, outputs=outputs, slopes=jacobian.base, around=around).states[-1]
    for step, output, anchor, slope in zip(
        range(front.start, front.start + accepted), outputs, around, jacobian.split(), strict=True
    ):
        distance = problem.observe(shadow) - anchor
        shadow = problem.advance(step, shadow, output + slope.times(distance.unsqueeze(0))[0])
    return shadow
