"""The estimator: the shadow beside the accepted path, and how it follows.

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
from forerun.engine.rows import Problem
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
    restart_points: tuple[RestartPoint, ...]
    jacobian: Jacobian | None = None  # of the last step that was followed
    evaluations: tuple[StepEvaluations, ...] = ()  # of the window, the newest first
    predicted: StepEvaluations | None = None  # what the last sweep took for outputs
    waiting: tuple[Segment, ...] = ()

    @classmethod
    def from_state(cls, problem: Problem, step: int, state: Tree, shadow: Tree = None) -> DeviationEstimator:
        """A estimator from an accepted state on; on the sequential path itself unless a shadow is given."""
        shadow = state if shadow is None else shadow
        return cls(problem, shadow, (RestartPoint(step, state, shadow),))

    def follow_steps(
        self, front: WindowState, iterate: WindowUpdate, *, accepted: int, exact: bool, still: bool, sound: int
    ) -> DeviationEstimator:
        """The estimator at step `front.start + accepted`.

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
        wide = self.problem.input_layout.width > WIDE
        seen = (iterate.evaluations, *self.evaluations)[: 2 if wide else MEMORY]
        estimator = replace(self, evaluations=seen, predicted=replace(iterate.evaluations, outputs=iterate.outputs))
        state, step = iterate.states[accepted - 1], front.start + accepted
        if exact:
            return estimator._exact(step, state)
        told = min(_twice(seen, front.start), accepted) if still else accepted
        if told:
            estimator = estimator._told(front, iterate, self._defects(iterate, told), iterate.states[told - 1])
        if told < accepted:
            # steps taken one by one tell nothing of their Jacobian: the distance is carried on as it is
            before = iterate.states[told - 1] if told else front.state
            estimator = estimator.follow_waiting()._carried(step, before, state)
        return estimator

    def follow_waiting(self) -> DeviationEstimator:
        """The estimator when no step waits any more."""
        estimator = replace(self, waiting=())
        places = {stretch.stop: stretch.restart_point for stretch in self.waiting if stretch.restart_point is not None}
        for stretch in joined(self.waiting):
            estimator = estimator._walked(stretch, places)
        return estimator

    def go_back(self, tolerance: Tolerance, excess: float, asked: float) -> DeviationEstimator:
        """The estimator at the first step to blame for a deviation `excess` times what was asked.

        A drift that a restart point shows may have been amplified by as much as the whole path shows, `excess`;
        so the last restart point is taken whose drift would still keep to a quarter of what was asked.
        """
        kept = [
            restart_point
            for restart_point in self.restart_points
            if self._drift(tolerance, restart_point) * excess <= asked**2 / 4
        ]
        restart_points = tuple(kept or self.restart_points[:1])
        return DeviationEstimator(self.problem, restart_points[-1].shadow, restart_points, restart_points[-1].jacobian)

    def estimate_deviation(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Estimated distance `(*batch,)` of a state from the sequential run's, in the norm of the tolerance."""
        assert not self.waiting, "the shadow is not there yet"
        seen = self.problem.observe(state).unsqueeze(0)
        moves = self.problem.observe(self.shadow).unsqueeze(0) - seen
        return tolerance.norm(self.problem.step_range(step, step + 1), moves, seen)[0]

    def _told(self, front: WindowState, iterate: WindowUpdate, defects: Tensor, state: Tree) -> DeviationEstimator:
        """The estimator behind as many accepted steps as there are defects, which end in `state`."""
        count, step = len(defects), front.start + len(defects)
        base = None if iterate.slopes is None else iterate.slopes[:count]
        changes = Changes.of(self.evaluations, front.start, count)
        maps = self.problem.affine_maps(front.start, count)
        if maps is None:
            return self._in_order(iterate, defects, base, changes)._at(step, state)
        # a copy, as a state may be a view into a whole window, which would live on with it
        restart_point = tree_map(torch.clone, state) if self._place(step) else None
        stretch = Segment(
            maps.without_shift(), defects, base, changes, iterate.inputs[0], iterate.inputs[count], restart_point
        )
        if stretch.numbers + sum(each.numbers for each in self.waiting) > WAITING:
            return replace(self, waiting=(*self.waiting, stretch)).follow_waiting()
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
        """The estimator behind a stretch, with restart_points at the places in it, whose accepted states are given."""
        begun = self.problem.observe(self.shadow) - stretch.first
        distances, jacobian = stretch.walk(begun, self.jacobian)
        restart_points = list(self.restart_points)
        for index, step in enumerate(range(stretch.maps.start + 1, stretch.stop + 1)):
            if step in places:
                shadow = self._beside(self.problem.observe(places[step]), distances[index])
                restart_points.append(RestartPoint(step, places[step], shadow, jacobian.at(index)))
        shadow = self._beside(stretch.end, distances[-1])
        return replace(
            self, shadow=shadow, jacobian=jacobian.at(len(distances) - 1), restart_points=tuple(restart_points)
        )

    def _beside(self, row: Tensor, distance: Tensor) -> Tree:
        """The state at a distance from one that is its own input, given as a row."""
        return self.problem.input_layout.unpack(row + distance)

    def _exact(self, step: int, state: Tree) -> DeviationEstimator:
        return replace(self, shadow=state, jacobian=None)._at(step, state)

    def _carried(self, step: int, before: Tree, state: Tree) -> DeviationEstimator:
        """The distance to the accepted state `before` carried on to that of `step`, as it is."""
        return replace(self, shadow=_moved(self.shadow, before, state))._at(step, state)

    def _at(self, step: int, state: Tree) -> DeviationEstimator:
        """The estimator, with one more restart_point where the accepted steps pass the next place for it."""
        if not self._place(step):
            return self
        kept = tree_map(torch.clone, state)
        shadow = kept if self.shadow is state else tree_map(torch.clone, self.shadow)
        return replace(self, restart_points=(*self.restart_points, RestartPoint(step, kept, shadow, self.jacobian)))

    def _place(self, step: int) -> bool:
        """Whether a step passes the next place to go back to."""
        stride = -(-self.problem.length // ANCHORS)
        waiting = [stretch.stop for stretch in self.waiting if stretch.restart_point is not None]
        return step // stride > max([self.restart_points[-1].step, *waiting]) // stride

    def _defects(self, iterate: WindowUpdate, accepted: int) -> Tensor:
        """`r` `(n, *batch, E)` of the accepted steps: how wrong their corrected outputs are.

        A step evaluated once errs like the one before it. Where none was evaluated twice, the slope may be wrong by
        one (`r = m`), which only a warm start meets; nothing is known where inputs and outputs differ in size.
        """
        new, moves = iterate.evaluations, iterate.moves[:accepted]
        known = None if self.predicted is None else self.predicted.select_steps(new.start, accepted)
        if not known:
            return moves if self.problem.accepts_slopes else torch.zeros_like(iterate.outputs[:accepted])
        surprise = new.outputs[: len(known)] - known.outputs
        change = _size(new.inputs[: len(known)] - known.inputs)
        unit = torch.where(change > 0, surprise / change, 0.0)
        if len(known) < accepted:
            unit = torch.cat([unit, unit[-1:].expand(accepted - len(known), *unit.shape[1:])])
        return unit * _size(moves)

    def _drift(self, tolerance: Tolerance, restart_point: RestartPoint) -> float:
        here = replace(self, shadow=restart_point.shadow, waiting=())
        return largest_size(here.estimate_deviation(tolerance, restart_point.step, restart_point.state))


def largest_size(sizes: Tensor) -> float:
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
