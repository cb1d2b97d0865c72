"""The check: how far the accepted path may have drifted from the sequential run.

A small residual proves little: an unstable path has tiny residuals and a wrong end. So a *shadow* walks beside
the accepted path, where the sequential run is estimated to be. The output of an accepted step was evaluated at
an input that then moved by `m`, and corrected by the slope for it. How wrong such a correction is was seen when
the step was evaluated last: it came out as `o` where `p` was predicted, after a move `u - u'`. So the shadow is

    y_{i+1} = advance(i, y_i, o_i + S m_i + r_i + J (observe(y_i) - observe(x_i))),    r_i = (o - p) |m_i| / |u - u'|

that is `d_{i+1} = A_i d_i + r_i` for the distance `d = y - x`, through the process's own `advance`; `J` comes from
the evaluations that were made anyway (`engine/jacobian.py`), so that no evaluation is spent. It is an estimate:
`benchmarks/the_check_tells_the_deviation.py` says how good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.jacobian import WIDE, Jacobian, estimate
from forerun.engine.methods.base import Evaluated, Front, Iterate
from forerun.engine.sweep import Problem, sweep
from forerun.engine.tolerance import Tolerance
from forerun.engine.tree import Tree, tree_map

MEMORY = 5  # evaluations of a step that are kept to estimate its Jacobian: four differences
SWEEPS = 2  # after the first, to let the estimate of the Jacobian act in full
ANCHORS = 16  # places along the path to go back to


@dataclass(frozen=True)
class Check:
    """What `solve` does about the deviation from the sequential run.

    Args:
        share: of the tolerance that the residual of a single step may take, so that all together keep it.
        retries: times to go back with a tighter limit, before going on step by step. With 0 the deviation is only
            estimated, and reported as it is.
    """

    share: float = 0.25
    retries: int = 5


@dataclass(frozen=True)
class Anchor:
    """A place to go back to."""

    step: int
    state: Tree
    shadow: Tree
    jacobian: Jacobian | None = None


@dataclass(frozen=True)
class Trail:
    """The shadow at the accepted frontier, and what is needed to follow it further or to go back."""

    shadow: Tree
    anchors: tuple[Anchor, ...]
    jacobian: Jacobian | None = None  # of the last accepted step
    evaluations: tuple[Evaluated, ...] = ()  # of the window, the newest first
    predicted: Evaluated | None = None  # what the last sweep took for outputs

    @classmethod
    def start(cls, step: int, state: Tree, shadow: Tree = None) -> Trail:
        """A trail from an accepted state on; on the sequential path itself unless a shadow is given."""
        shadow = state if shadow is None else shadow
        return cls(shadow, (Anchor(step, state, shadow),))

    def follow(self, front: Front, iterate: Iterate, *, accepted: int, exact: bool, still: bool, sound: int) -> Trail:
        """The trail at step `front.start + accepted`.

        Args:
            front: the window.
            iterate: what the method made of it.
            accepted: number of steps accepted.
            exact: no accepted step ever moved.
            still: none of those accepted now did.
            sound: steps of the window before the first that met something not finite, which tells nothing.
        """
        iterate = replace(
            iterate, evaluated=iterate.evaluated.since(front.start, sound), outputs=iterate.outputs[:sound]
        )
        state = iterate.states[accepted - 1]
        wide = front.problem.inputs.width > WIDE
        seen = (iterate.evaluated, *self.evaluations)[: 2 if wide else MEMORY]
        if exact:
            shadow, last = state, None
        else:
            told = min(_twice(seen, front.start), accepted) if still else accepted
            shadow, last = self._followed(front, iterate, seen, told)
            if told < accepted:
                # steps taken one by one tell nothing of their Jacobian: the distance is carried on as it is
                shadow = _carried(shadow, iterate.states[told - 1] if told else front.state, state)
        anchors = self._anchored(front, state, accepted, shadow=shadow, jacobian=last)
        return Trail(shadow, anchors, last, seen, replace(iterate.evaluated, outputs=iterate.outputs))

    def _followed(
        self, front: Front, iterate: Iterate, seen: Sequence[Evaluated], count: int
    ) -> tuple[Tree, Jacobian | None]:
        """The shadow after the first `count` steps of the window, and the last Jacobian that is known."""
        if not count:
            return self.shadow, self.jacobian
        slopes = None if iterate.slopes is None else iterate.slopes[:count]
        jacobian = estimate(seen, front.start, count, base=slopes, before=self.jacobian)
        jacobian = jacobian or Jacobian.without(slopes, iterate.evaluated)
        outputs = iterate.outputs[:count] + self._defects(iterate, count, front.problem.sloped)
        return _advance(front, iterate, self.shadow, outputs=outputs, jacobian=jacobian), jacobian.last()

    def back(self, problem: Problem, tolerance: Tolerance, excess: float, asked: float) -> Trail:
        """The trail at the first step to blame for a deviation `excess` times what was asked.

        A drift that an anchor already shows may have been amplified by as much as the whole path shows, `excess`;
        so the last anchor is taken whose drift would still keep to a quarter of what was asked.
        """
        kept = [anchor for anchor in self.anchors if self._drift(problem, tolerance, anchor) * excess <= asked**2 / 4]
        anchors = tuple(kept or self.anchors[:1])
        return Trail(anchors[-1].shadow, anchors, anchors[-1].jacobian)

    def deviation(self, problem: Problem, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Estimated distance `(*batch,)` of a state from the sequential run's, in the norm of the tolerance."""
        seen = problem.observe(state).unsqueeze(0)
        moves = problem.observe(self.shadow).unsqueeze(0) - seen
        return tolerance.norm(problem.steps(step, step + 1), moves, seen)[0]

    def _anchored(
        self, front: Front, state: Tree, accepted: int, *, shadow: Tree, jacobian: Jacobian | None
    ) -> tuple[Anchor, ...]:
        """The anchors, with one more where the accepted steps pass the next place for it."""
        stop, stride = front.start + accepted, -(-front.problem.length // ANCHORS)
        if stop // stride <= self.anchors[-1].step // stride:
            return self.anchors
        # copies, as a state may be a view into a whole window, which would live on with it
        kept = tree_map(torch.clone, state)
        return (*self.anchors, Anchor(stop, kept, kept if shadow is state else tree_map(torch.clone, shadow), jacobian))

    def _defects(self, iterate: Iterate, accepted: int, sloped: bool) -> Tensor:
        """`r` `(n, *batch, E)` of the accepted steps: how wrong their corrected outputs are.

        A step evaluated once errs like the one before it. Where none was evaluated twice, the slope may be wrong by
        one (`r = m`), which only a warm start meets; nothing is known where inputs and outputs differ in size.
        """
        new, moves = iterate.evaluated, iterate.moves[:accepted]
        known = None if self.predicted is None else self.predicted.since(new.start, accepted)
        if not known:
            return moves if sloped else torch.zeros_like(iterate.outputs[:accepted])
        surprise = new.outputs[: len(known)] - known.outputs
        change = _size(new.inputs[: len(known)] - known.inputs)
        unit = torch.where(change > 0, surprise / change, 0.0)
        return torch.cat([unit, unit[-1:].expand(accepted - len(known), *unit.shape[1:])]) * _size(moves)

    def _drift(self, problem: Problem, tolerance: Tolerance, anchor: Anchor) -> float:
        here = replace(self, shadow=anchor.shadow)
        return worst(here.deviation(problem, tolerance, anchor.step, anchor.state))


def _twice(seen: Sequence[Evaluated], start: int) -> int:
    """Steps from `start` on that were evaluated twice."""
    return 0 if len(seen) < 2 else min(len(each.since(start, len(each))) for each in seen[:2])


def worst(sizes: Tensor) -> float:
    """The largest of some sizes, infinite where one is not a number, 0 where there are none."""
    return float(sizes.nan_to_num(torch.inf, torch.inf).max()) if sizes.numel() else 0.0


def _carried(shadow: Tree, state: Tree, following: Tree) -> Tree:
    """`following + (shadow - state)`, in what is not whole numbers."""

    def move(after: Any, ahead: Any, behind: Any) -> Any:
        return after + (ahead - behind) if isinstance(after, Tensor) and after.is_floating_point() else after

    return pytree.tree_map(move, following, shadow, state)


def _size(rows: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return size


def _advance(front: Front, iterate: Iterate, shadow: Tree, *, outputs: Tensor, jacobian: Jacobian) -> Tree:
    """The shadow after the steps of `outputs`, whose inputs on the accepted path are the iterate's."""
    problem, around = front.problem, iterate.inputs[: len(outputs)]
    lean = not jacobian.left.shape[-2]
    if not lean and problem.maps(front.start, len(outputs)) is None:
        return _in_order(front, shadow, outputs=outputs, around=around, jacobian=jacobian)
    path = sweep(problem, front.start, shadow, outputs=outputs, slopes=jacobian.base, around=around)
    for _ in range(0 if lean else SWEEPS):
        # a fixed point iteration of its own: what the base leaves out follows the distance of the sweep before
        beyond = jacobian.beyond(path.inputs[:-1] - around)
        path = sweep(problem, front.start, shadow, outputs=outputs + beyond, slopes=jacobian.base, around=around)
    return path.states[-1]


def _in_order(front: Front, shadow: Tree, *, outputs: Tensor, around: Tensor, jacobian: Jacobian) -> Tree:
    """The same step by step, where `advance` has no closed form."""
    problem = front.problem
    for index, (output, slope) in enumerate(zip(outputs, jacobian.split(), strict=True)):
        distance = problem.observe(shadow) - around[index]
        shadow = problem.advance(front.start + index, shadow, output + slope.times(distance.unsqueeze(0))[0])
    return shadow
