"""DeviationEstimator: the shadow beside the accepted path, followed from round to round.

Where steps have a closed form, they wait until there are enough of them to follow together: following costs its
calls, not its elements, where a network is small. Wide rows hardly wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import LOW_RANK_WIDTH, estimate_jacobian
from forerun.engine.check.output_defects import estimate_defects
from forerun.engine.check.restart_point import RestartPoint, is_restart_due
from forerun.engine.check.segment import Segment, join_segments
from forerun.engine.check.shadow import advance_shadow, carry_distance
from forerun.engine.methods.base import StepEvaluations, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance

REMEMBERED_EVALUATIONS: Final = 5  # of a step, to estimate its Jacobian: four differences
WAITING_ELEMENTS: Final = 2**19  # that segments in waiting may hold, all together


@dataclass(frozen=True)
class DeviationEstimator:
    """The shadow after the accepted steps, and what is needed to follow it further or to go back.

    Attributes:
        problem: the process, in rows.
        shadow: the state where the sequential run is estimated to be.
        restart_points: steps to go back to, in their order; at least one.
        jacobian: the estimate of the last step that was followed; None where there is none.
        evaluations: those of the window, the newest first.
        predicted: the last evaluation, with what its sweep took for outputs.
        waiting: accepted steps that the shadow has not followed yet.
    """

    problem: Problem
    shadow: Tree
    restart_points: tuple[RestartPoint, ...]
    jacobian: Jacobian | None = None
    evaluations: tuple[StepEvaluations, ...] = ()
    predicted: StepEvaluations | None = None
    waiting: tuple[Segment, ...] = ()

    @classmethod
    def from_state(cls, problem: Problem, step: int, state: Tree, shadow: Tree = None) -> DeviationEstimator:
        """Return an estimator at an accepted state, which is on the sequential path unless a shadow is given."""
        if shadow is None:
            shadow = state
        return cls(problem, shadow, (RestartPoint(step, state, shadow),))

    @classmethod
    def from_restart_points(cls, problem: Problem, restart_points: tuple[RestartPoint, ...]) -> DeviationEstimator:
        """Return an estimator at the last of some restart points."""
        last = restart_points[-1]
        return cls(problem, last.shadow, restart_points, last.jacobian)

    def follow_steps(
        self,
        window_state: WindowState,
        update: WindowUpdate,
        *,
        accepted: int,
        exact: bool,
        unmoved: bool,
        sound: int,
    ) -> DeviationEstimator:
        """Return the estimator at step `window_state.start + accepted`.

        Args:
            window_state: the window.
            update: what the method made of it.
            accepted: number of steps accepted.
            exact: no accepted step ever moved.
            unmoved: none of those accepted now did.
            sound: steps of the window before the first that met something not finite, which shows nothing.
        """
        update = _cut_update(update, window_state.start, sound)
        estimator = self._remember_evaluations(update)
        step = window_state.start + accepted
        state = update.states[accepted - 1]
        if exact:
            return replace(estimator, shadow=state, jacobian=None)._add_restart_point(step, state)
        count = accepted
        if unmoved:
            count = min(estimator._count_evaluated_twice(window_state.start), accepted)
        if count:
            defects = estimate_defects(self.problem, update, self.predicted, count)
            estimator = estimator._follow_defects(update, defects)
        if count < accepted:
            # steps taken one by one show nothing of their Jacobian: the distance is carried on as it is
            state_before = window_state.state
            if count:
                state_before = update.states[count - 1]
            estimator = estimator.follow_waiting()
            shadow = carry_distance(estimator.shadow, state_before, state)
            estimator = replace(estimator, shadow=shadow)._add_restart_point(step, state)
        return estimator

    def follow_waiting(self) -> DeviationEstimator:
        """Return the estimator when no step waits any more."""
        estimator = replace(self, waiting=())
        restart_states = {}
        for segment in self.waiting:
            if segment.restart_state is not None:
                restart_states[segment.stop] = segment.restart_state
        for segment in join_segments(self.waiting):
            estimator = estimator._follow_segment(segment, restart_states)
        return estimator

    def go_back(self, tolerance: Tolerance, excess: float, requested: float) -> DeviationEstimator:
        """Return the estimator at the first step to blame for a deviation `excess` where `requested` was asked for.

        A drift that a restart point shows may have been amplified by as much as the whole path shows, `excess`;
        so the last restart point is taken whose drift would still keep to a quarter of what was requested.
        """
        sound_points = []
        for point in self.restart_points:
            drift = self._measure_distance(tolerance, point.step, state=point.state, shadow=point.shadow)
            if largest_size(drift) * excess <= requested**2 / 4:
                sound_points.append(point)
        return self.from_restart_points(self.problem, tuple(sound_points) or self.restart_points[:1])

    def go_to_start(self) -> DeviationEstimator:
        """Return the estimator where the run began."""
        return self.from_restart_points(self.problem, self.restart_points[:1])

    def estimate_deviation(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Return the estimated distance `(*batch,)` of a state from the sequential run's, in the tolerance's norm."""
        assert not self.waiting, "the shadow is not there yet"
        return self._measure_distance(tolerance, step, state=state, shadow=self.shadow)

    def _measure_distance(self, tolerance: Tolerance, step: int, *, state: Tree, shadow: Tree) -> Tensor:
        """Return the distance `(*batch,)` of a shadow from a state, in the norm of the tolerance."""
        state_input = self.problem.observe(state).unsqueeze(0)
        moves = self.problem.observe(shadow).unsqueeze(0) - state_input
        return tolerance.norm(self.problem.step_range(step, step + 1), moves, state_input)[0]

    def _remember_evaluations(self, update: WindowUpdate) -> DeviationEstimator:
        """Return the estimator with the evaluations of one more round."""
        count = REMEMBERED_EVALUATIONS
        if self.problem.input_layout.width > LOW_RANK_WIDTH:
            count = 2
        return replace(
            self,
            evaluations=(update.evaluations, *self.evaluations)[:count],
            predicted=replace(update.evaluations, outputs=update.outputs),
        )

    def _count_evaluated_twice(self, start: int) -> int:
        """Return the number of steps from `start` on that were evaluated twice."""
        if len(self.evaluations) < 2:
            return 0
        newest, older = self.evaluations[:2]
        return min(
            len(newest.select_steps(start, len(newest))),
            len(older.select_steps(start, len(older))),
        )

    def _follow_defects(self, update: WindowUpdate, defects: Tensor) -> DeviationEstimator:
        """Return the estimator after as many accepted steps as there are defects; with a closed form they may wait."""
        start, count = update.evaluations.start, len(defects)
        stop, state = start + count, update.states[count - 1]
        base = update.slopes
        if base is not None:
            base = base[:count]
        changes = EvaluationChanges.from_evaluations(self.evaluations, start, count)
        maps = self.problem.affine_maps(start, count)
        if maps is None:
            estimator = self._follow_in_order(update, defects, base=base, changes=changes)
            return estimator._add_restart_point(stop, state)
        restart_state = None
        if self._is_restart_due(stop):
            # a copy, as a state may be a view into a whole window, which would live on with it
            restart_state = tree_map(torch.clone, state)
        segment = Segment(
            maps=maps.without_shift(),
            defects=defects,
            base=base,
            changes=changes,
            first_input=update.inputs[0],
            end_input=update.inputs[count],
            restart_state=restart_state,
        )
        return self._let_wait(segment)

    def _let_wait(self, segment: Segment) -> DeviationEstimator:
        """Return the estimator with one more segment in waiting, or after all of them where they have grown large."""
        total = sum(waiting.element_count for waiting in self.waiting)
        if total + segment.element_count > WAITING_ELEMENTS:
            return replace(self, waiting=(*self.waiting, segment)).follow_waiting()
        return replace(self, waiting=(*self.waiting, segment.copy_views()))

    def _follow_in_order(
        self,
        update: WindowUpdate,
        defects: Tensor,
        *,
        base: Tensor | None,
        changes: EvaluationChanges | None,
    ) -> DeviationEstimator:
        """Return the estimator after as many steps as there are defects, where `advance` has no closed form."""
        count = len(defects)
        if changes is None:
            jacobian = Jacobian.from_base(base, inputs=update.inputs[:count], outputs=defects)
        else:
            jacobian = estimate_jacobian(changes, base=base, before=self.jacobian)
        shadow = advance_shadow(
            self.problem,
            self.shadow,
            update=update,
            defects=defects,
            jacobian=jacobian,
        )
        return replace(self, shadow=shadow, jacobian=jacobian.select_step(count - 1))

    def _follow_segment(self, segment: Segment, restart_states: Mapping[int, Tree]) -> DeviationEstimator:
        """Return the estimator after a segment, with restart points at the steps whose accepted states are given."""
        distance = self.problem.observe(self.shadow) - segment.first_input
        distances, jacobian = segment.follow_distance(distance, self.jacobian)
        restart_points = list(self.restart_points)
        for step, state in restart_states.items():
            if segment.start < step <= segment.stop:
                index = step - segment.start - 1
                shadow = self._shift_state(self.problem.observe(state), distances[index])
                restart_points.append(RestartPoint(step, state, shadow, jacobian.select_step(index)))
        return replace(
            self,
            shadow=self._shift_state(segment.end_input, distances[-1]),
            jacobian=jacobian.select_step(len(segment) - 1),
            restart_points=tuple(restart_points),
        )

    def _shift_state(self, row: Tensor, distance: Tensor) -> Tree:
        """Return the state at a distance from one that is its own input, given as a row."""
        return self.problem.input_layout.unpack(row + distance)

    def _add_restart_point(self, step: int, state: Tree) -> DeviationEstimator:
        """Return the estimator with a restart point at an accepted state, where one is due."""
        if not self._is_restart_due(step):
            return self
        state_copy = tree_map(torch.clone, state)
        shadow_copy = state_copy
        if self.shadow is not state:
            shadow_copy = tree_map(torch.clone, self.shadow)
        restart_point = RestartPoint(step, state_copy, shadow_copy, self.jacobian)
        return replace(self, restart_points=(*self.restart_points, restart_point))

    def _is_restart_due(self, step: int) -> bool:
        """Whether a restart point is due at a step."""
        last_step = self.restart_points[-1].step
        for segment in self.waiting:
            if segment.restart_state is not None:
                last_step = max(last_step, segment.stop)
        return is_restart_due(step, last_step, self.problem.length)


def largest_size(sizes: Tensor) -> float:
    """Return the largest of some sizes, infinite where one is not a number, 0 where there are none."""
    if not sizes.numel():
        return 0.0
    return float(sizes.nan_to_num(torch.inf, torch.inf).max())


def _cut_update(update: WindowUpdate, start: int, count: int) -> WindowUpdate:
    """Return an update with the evaluations and outputs of the first `count` steps from `start` on."""
    return replace(
        update,
        evaluations=update.evaluations.select_steps(start, count),
        sweep=replace(update.sweep, outputs=update.outputs[:count]),
    )
