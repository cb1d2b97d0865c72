"""The trail: the shadow beside the accepted path, and how it follows.

Where steps have a closed form, they wait until there are enough of them to follow together: a walk costs its calls,
not its elements, where a network is small. Wide rows hardly wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.check.jacobian import WIDE, Changes, Jacobian, told
from forerun.engine.check.segment import Segment, joined
from forerun.engine.methods.base import StepEvaluations, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows.sweep import Problem
from forerun.engine.tolerance import Tolerance

MEMORY = 5  # evaluations of a step that are kept to estimate its Jacobian: four differences
ANCHORS = 16  # places along the path to go back to
WAITING = 2**19  # numbers that steps in waiting may hold, all together


@dataclass(frozen=True)
class RestartPoint:
    """A place to go back to."""

    step: int
    state: Tree
    shadow: Tree
    jacobian: Jacobian | None = None


@dataclass(frozen=True)
class DeviationEstimator:
    """The shadow at the accepted frontier, and what is needed to follow it further or to go back."""

    problem: Problem
    shadow: Tree
    anchors: tuple[RestartPoint, ...]
    jacobian: Jacobian | None = None  # of the last step that was followed
    evaluations: tuple[StepEvaluations, ...] = ()  # of the window, the newest first
    predicted: StepEvaluations | None = None  # what the last sweep took for outputs
    waiting: tuple[Segment, ...] = ()

    @classmethod
    def start(cls, problem: Problem, step: int, state: Tree, shadow: Tree = None) -> DeviationEstimator:
        """A trail from an accepted state on; on the sequential path itself unless a shadow is given."""
        shadow = state if shadow is None else shadow
        return cls(problem, shadow, (RestartPoint(step, state, shadow),))

    def follow(
        self, front: WindowState, iterate: WindowUpdate, *, accepted: int, exact: bool, still: bool, sound: int
    ) -> DeviationEstimator:
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
            iterate,
            evaluations=iterate.evaluations.select_steps(front.start, sound),
            sweep=replace(iterate.sweep, outputs=iterate.outputs[:sound]),
        )
        wide = self.problem.inputs.width > WIDE
        seen = (iterate.evaluations, *self.evaluations)[: 2 if wide else MEMORY]
        trail = replace(self, evaluations=seen, predicted=replace(iterate.evaluations, outputs=iterate.outputs))
        state, step = iterate.states[accepted - 1], front.start + accepted
        if exact:
            return trail._exact(step, state)
        told = min(_twice(seen, front.start), accepted) if still else accepted
        if told:
            trail = trail._told(front, iterate, self._defects(iterate, told), iterate.states[told - 1])
        if told < accepted:
            # steps taken one by one tell nothing of their Jacobian: the distance is carried on as it is
            before = iterate.states[told - 1] if told else front.state
            trail = trail.settled()._carried(step, before, state)
        return trail

    def settled(self) -> DeviationEstimator:
        """The trail when no step waits any more."""
        trail = replace(self, waiting=())
        places = {stretch.stop: stretch.anchor for stretch in self.waiting if stretch.anchor is not None}
        for stretch in joined(self.waiting):
            trail = trail._walked(stretch, places)
        return trail

    def back(self, tolerance: Tolerance, excess: float, asked: float) -> DeviationEstimator:
        """The trail at the first step to blame for a deviation `excess` times what was asked.

        A drift that an anchor already shows may have been amplified by as much as the whole path shows, `excess`;
        so the last anchor is taken whose drift would still keep to a quarter of what was asked.
        """
        kept = [anchor for anchor in self.anchors if self._drift(tolerance, anchor) * excess <= asked**2 / 4]
        anchors = tuple(kept or self.anchors[:1])
        return DeviationEstimator(self.problem, anchors[-1].shadow, anchors, anchors[-1].jacobian)

    def deviation(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Estimated distance `(*batch,)` of a state from the sequential run's, in the norm of the tolerance."""
        assert not self.waiting, "the shadow is not there yet"
        seen = self.problem.observe(state).unsqueeze(0)
        moves = self.problem.observe(self.shadow).unsqueeze(0) - seen
        return tolerance.norm(self.problem.steps(step, step + 1), moves, seen)[0]

    def _told(self, front: WindowState, iterate: WindowUpdate, defects: Tensor, state: Tree) -> DeviationEstimator:
        """The trail behind as many accepted steps as there are defects, which end in `state`."""
        count, step = len(defects), front.start + len(defects)
        base = None if iterate.slopes is None else iterate.slopes[:count]
        changes = Changes.of(self.evaluations, front.start, count)
        maps = self.problem.maps(front.start, count)
        if maps is None:
            return self._in_order(iterate, defects, base, changes)._at(step, state)
        # a copy, as a state may be a view into a whole window, which would live on with it
        anchor = tree_map(torch.clone, state) if self._place(step) else None
        stretch = Segment(maps.unshifted(), defects, base, changes, iterate.inputs[0], iterate.inputs[count], anchor)
        if stretch.numbers + sum(each.numbers for each in self.waiting) > WAITING:
            return replace(self, waiting=(*self.waiting, stretch)).settled()
        return replace(self, waiting=(*self.waiting, stretch.owned()))

    def _in_order(
        self, iterate: WindowUpdate, defects: Tensor, base: Tensor | None, changes: Changes | None
    ) -> DeviationEstimator:
        """The shadow follows step by step, where `advance` has no closed form."""
        problem, start, shadow = self.problem, iterate.evaluations.start, self.shadow
        accepted = iterate.inputs[: len(defects)]
        jacobian = told(changes, accepted, defects, base=base, before=self.jacobian)
        rows = zip(accepted, iterate.outputs[: len(defects)], defects, jacobian.split(), strict=True)
        for index, (row, output, defect, slope) in enumerate(rows):
            distance = problem.observe(shadow) - row
            output = output + defect + slope.times(distance.unsqueeze(0))[0]
            shadow = problem.advance(start + index, shadow, output)
        return replace(self, shadow=shadow, jacobian=jacobian.at(len(defects) - 1))

    def _walked(self, stretch: Segment, places: Mapping[int, Tree]) -> DeviationEstimator:
        """The trail behind a stretch, with anchors at the places in it, whose accepted states are given."""
        begun = self.problem.observe(self.shadow) - stretch.first
        distances, jacobian = stretch.walk(begun, self.jacobian)
        anchors = list(self.anchors)
        for index, step in enumerate(range(stretch.maps.start + 1, stretch.stop + 1)):
            if step in places:
                shadow = self._beside(self.problem.observe(places[step]), distances[index])
                anchors.append(RestartPoint(step, places[step], shadow, jacobian.at(index)))
        shadow = self._beside(stretch.end, distances[-1])
        return replace(self, shadow=shadow, jacobian=jacobian.at(len(distances) - 1), anchors=tuple(anchors))

    def _beside(self, row: Tensor, distance: Tensor) -> Tree:
        """The state at a distance from one that is its own input, given as a row."""
        return self.problem.inputs.unpack(row + distance)

    def _exact(self, step: int, state: Tree) -> DeviationEstimator:
        return replace(self, shadow=state, jacobian=None)._at(step, state)

    def _carried(self, step: int, before: Tree, state: Tree) -> DeviationEstimator:
        """The distance to the accepted state `before` carried on to that of `step`, as it is."""
        return replace(self, shadow=_moved(self.shadow, before, state))._at(step, state)

    def _at(self, step: int, state: Tree) -> DeviationEstimator:
        """The trail, with one more anchor where the accepted steps pass the next place for it."""
        if not self._place(step):
            return self
        kept = tree_map(torch.clone, state)
        shadow = kept if self.shadow is state else tree_map(torch.clone, self.shadow)
        return replace(self, anchors=(*self.anchors, RestartPoint(step, kept, shadow, self.jacobian)))

    def _place(self, step: int) -> bool:
        """Whether a step passes the next place to go back to."""
        stride = -(-self.problem.length // ANCHORS)
        waiting = [stretch.stop for stretch in self.waiting if stretch.anchor is not None]
        return step // stride > max([self.anchors[-1].step, *waiting]) // stride

    def _defects(self, iterate: WindowUpdate, accepted: int) -> Tensor:
        """`r` `(n, *batch, E)` of the accepted steps: how wrong their corrected outputs are.

        A step evaluated once errs like the one before it. Where none was evaluated twice, the slope may be wrong by
        one (`r = m`), which only a warm start meets; nothing is known where inputs and outputs differ in size.
        """
        new, moves = iterate.evaluations, iterate.moves[:accepted]
        known = None if self.predicted is None else self.predicted.select_steps(new.start, accepted)
        if not known:
            return moves if self.problem.sloped else torch.zeros_like(iterate.outputs[:accepted])
        surprise = new.outputs[: len(known)] - known.outputs
        change = _size(new.inputs[: len(known)] - known.inputs)
        unit = torch.where(change > 0, surprise / change, 0.0)
        if len(known) < accepted:
            unit = torch.cat([unit, unit[-1:].expand(accepted - len(known), *unit.shape[1:])])
        return unit * _size(moves)

    def _drift(self, tolerance: Tolerance, anchor: RestartPoint) -> float:
        here = replace(self, shadow=anchor.shadow, waiting=())
        return worst(here.deviation(tolerance, anchor.step, anchor.state))


def worst(sizes: Tensor) -> float:
    """The largest of some sizes, infinite where one is not a number, 0 where there are none."""
    return float(sizes.nan_to_num(torch.inf, torch.inf).max()) if sizes.numel() else 0.0


def _twice(seen: Sequence[StepEvaluations], start: int) -> int:
    """Steps from `start` on that were evaluated twice."""
    return 0 if len(seen) < 2 else min(len(each.select_steps(start, len(each))) for each in seen[:2])


def _moved(shadow: Tree, state: Tree, following: Tree) -> Tree:
    """`following + (shadow - state)`, in what is not whole numbers."""

    def move(after: Any, ahead: Any, behind: Any) -> Any:
        return after + (ahead - behind) if isinstance(after, Tensor) and after.is_floating_point() else after

    return pytree.tree_map(move, following, shadow, state)


def _size(rows: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return size
