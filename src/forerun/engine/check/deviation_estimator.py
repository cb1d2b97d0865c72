"""DeviationEstimator: the shadow beside the accepted path, followed from round to round.

Where steps have a closed form, they wait until there are enough of them to follow together: following costs its
calls, not its elements, where a network is small. Wide rows hardly wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian_estimate import LOW_RANK_WIDTH
from forerun.engine.check.output_defects import estimate_defects
from forerun.engine.check.restart_point import RestartPoint, is_restart_due
from forerun.engine.check.sampled_steps import EvaluateApart, draw_steps, sampled_share
from forerun.engine.check.shadow import Shadow
from forerun.engine.check.step_samples import DrawnStep, measure_left_over
from forerun.engine.check.waiting_steps import WaitingSteps, join_steps
from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance

REMEMBERED_EVALUATIONS: Final = 5  # of a step, to estimate its Jacobian: four differences
WAITING_ELEMENTS: Final = 2**19  # that waiting steps may hold, all together


@dataclass(frozen=True)
class DeviationEstimator:
    """The shadow after the accepted steps, and what is needed to follow it further or to go back.

    Attributes:
        problem: the process, in rows.
        shadow: where the sequential run is estimated to be.
        restart_points: steps to go back to, in their order; at least one.
        evaluations: those of the window, the newest first.
        predicted: the last evaluation, with what its sweep took for outputs.
        waiting: accepted steps that the shadow has not followed yet.
        waiting_elements: numbers that these hold, all together.
        last_restart_step: the step of the last restart point, those in waiting included.
    """

    problem: Problem
    shadow: Shadow
    restart_points: tuple[RestartPoint, ...]
    evaluations: tuple[StepEvaluations, ...] = ()
    predicted: StepEvaluations | None = None
    waiting: tuple[WaitingSteps, ...] = ()
    waiting_elements: int = 0
    last_restart_step: int = 0

    @classmethod
    def from_state(cls, problem: Problem, step: int, state: Tree, shadow: Tree = None) -> DeviationEstimator:
        """Return an estimator at an accepted state, which is on the sequential path unless a shadow is given."""
        if shadow is None:
            shadow = state
        return cls.from_restart_points(problem, (RestartPoint(step, state, shadow),))

    @classmethod
    def from_restart_points(
        cls,
        problem: Problem,
        restart_points: tuple[RestartPoint, ...],
    ) -> DeviationEstimator:
        """Return an estimator at the last of some restart points."""
        last = restart_points[-1]
        shadow = Shadow(problem, last.shadow, last.jacobian)
        return cls(problem, shadow, restart_points, last_restart_step=last.step)

    def follow_steps(
        self,
        window_state: WindowState,
        update: WindowUpdate,
        *,
        accepted: int,
        exact: bool,
        unmoved: bool,
        sound: int,
        evaluate: EvaluateApart,
    ) -> DeviationEstimator:
        """Return the estimator at step `window_state.start + accepted`.

        Args:
            window_state: the window.
            update: what the method made of it.
            accepted: number of steps accepted.
            exact: no accepted step ever moved.
            unmoved: none of those accepted now did.
            sound: steps of the window before the first that met something not finite, which shows nothing.
            evaluate: evaluates a few steps, where a drift is carried through steps that show nothing of their slopes.
        """
        update = _cut_update(update, window_state.start, sound)
        estimator = self._remember_evaluations(update)
        step = window_state.start + accepted
        state = update.states[accepted - 1]
        if exact:
            shadow = Shadow(self.problem, state)
            return replace(estimator, shadow=shadow)._add_restart_point(step, state)
        count = accepted
        if unmoved:
            count = min(estimator._count_evaluated_twice(window_state.start), accepted)
        if count:
            defects = estimate_defects(self.problem, update, self.predicted, count)
            estimator = estimator._follow_defects(update, defects)
        if count < accepted:
            state_before = window_state.state
            if count:
                state_before = update.states[count - 1]
            estimator = estimator.follow_waiting()
            states = [state_before, *(update.states[index] for index in range(count, accepted))]
            shadow = estimator.shadow.follow_exact_steps(window_state.start + count, states, evaluate)
            estimator = replace(estimator, shadow=shadow)._add_restart_point(step, state)
        return estimator

    def follow_waiting(self) -> DeviationEstimator:
        """Return the estimator when no step waits any more."""
        restart_states = {}
        for waiting_steps in self.waiting:
            if waiting_steps.restart_state is not None:
                restart_states[waiting_steps.stop] = waiting_steps.restart_state
        shadow, restart_points = self.shadow, self.restart_points
        for waiting_steps in join_steps(self.waiting):
            shadow, new_points = shadow.follow_waiting_steps(waiting_steps, restart_states)
            restart_points = (*restart_points, *new_points)
        return replace(self, shadow=shadow, restart_points=restart_points, waiting=(), waiting_elements=0)

    def go_back(self, tolerance: Tolerance, excess: float, requested: float) -> DeviationEstimator:
        """Return the estimator at the first step to blame for a deviation `excess` where `requested` was asked for.

        A drift that a restart point shows may have been amplified by as much as the whole path shows, `excess`;
        so the last restart point is taken whose drift would still keep to a quarter of what was requested.
        """
        sound_points = []
        for point in self.restart_points:
            drift = Shadow(self.problem, point.shadow).measure_distance(tolerance, point.step, point.state)
            if largest_size(drift) * excess <= requested**2 / 4:
                sound_points.append(point)
        restart_points = tuple(sound_points) or self.restart_points[:1]
        return self.from_restart_points(self.problem, restart_points)

    def go_to_start(self) -> DeviationEstimator:
        """Return the estimator where the run began."""
        return self.from_restart_points(self.problem, self.restart_points[:1])

    def estimate_deviation(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Return the estimated distance `(*batch,)` of a state from the sequential run's, in the tolerance's norm."""
        assert not self.waiting, "the shadow is not there yet"
        return self.shadow.measure_distance(tolerance, step, state)

    def sample_left_over(self, tolerance: Tolerance, step: int, state: Tree, evaluate: EvaluateApart) -> Tensor:
        """Return how far `(*batch,)` the sequential run may be from the shadow, by the samples evaluated there."""
        assert not self.waiting, "the shadow is not there yet"
        row = self.problem.observe(state)
        if not self.shadow.samples:
            return torch.zeros(row.shape[:-1], device=row.device)
        sizes = measure_left_over(self.shadow.samples, self.shadow.total_log_gain, evaluate)
        # spread over the row, as only the tolerance knows its unit
        moves = (sizes / max(row.shape[-1], 1) ** 0.5).unsqueeze(-1).expand_as(row)
        return tolerance.norm(self.problem.step_range(step, step + 1), moves.unsqueeze(0), row.unsqueeze(0))[0]

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
            newest.select_steps(start, len(newest)).skeleton.dense_count,
            older.select_steps(start, len(older)).skeleton.dense_count,
        )

    def _follow_defects(self, update: WindowUpdate, defects: Tensor) -> DeviationEstimator:
        """Return the estimator after as many accepted steps as there are defects; with a closed form they may wait."""
        start, count = update.evaluations.start, len(defects)
        stop, state = start + count, update.states[count - 1]
        base = update.slopes
        if base is not None:
            base = base[:count]
        changes = EvaluationChanges.from_evaluations(self.evaluations, start, count)
        drawn = _draw_accepted(update, start, count, sampled_share(self.problem.length))
        maps = self.problem.affine_maps(start, count)
        if maps is None:
            shadow = self.shadow.follow_in_order(update, defects, base=base, changes=changes, drawn=drawn)
            return replace(self, shadow=shadow)._add_restart_point(stop, state)
        restart_state = None
        if self._is_restart_due(stop):
            # a copy, as a state may be a view into a whole window, which would live on with it
            restart_state = tree_map(torch.clone, state)
        waiting_steps = WaitingSteps(
            maps=maps.without_shift(),
            defects=defects,
            base=base,
            changes=changes,
            first_input=update.inputs[0],
            end_input=update.inputs[count],
            restart_state=restart_state,
            drawn=drawn,
        )
        return self._let_steps_wait(waiting_steps)

    def _let_steps_wait(self, waiting_steps: WaitingSteps) -> DeviationEstimator:
        """Return the estimator with more steps in waiting, or after all of them where they have grown large."""
        elements = self.waiting_elements + waiting_steps.element_count
        last_restart_step = self.last_restart_step
        if waiting_steps.restart_state is not None:
            last_restart_step = waiting_steps.stop
        is_full = elements > WAITING_ELEMENTS
        if not is_full:
            waiting_steps = waiting_steps.copy_views()
        estimator = replace(
            self,
            waiting=(*self.waiting, waiting_steps),
            waiting_elements=elements,
            last_restart_step=last_restart_step,
        )
        if is_full:
            return estimator.follow_waiting()
        return estimator

    def _add_restart_point(self, step: int, state: Tree) -> DeviationEstimator:
        """Return the estimator with a restart point at an accepted state, where one is due."""
        if not self._is_restart_due(step):
            return self
        state_copy = tree_map(torch.clone, state)
        shadow_copy = state_copy
        if self.shadow.state is not state:
            shadow_copy = tree_map(torch.clone, self.shadow.state)
        restart_point = RestartPoint(step, state_copy, shadow_copy, self.shadow.jacobian)
        return replace(self, restart_points=(*self.restart_points, restart_point), last_restart_step=step)

    def _is_restart_due(self, step: int) -> bool:
        """Whether a restart point is due at a step."""
        return is_restart_due(step, self.last_restart_step, self.problem.length)


def _draw_accepted(update: WindowUpdate, start: int, count: int, share: float) -> tuple[DrawnStep, ...]:
    """Return some of the accepted steps, drawn at random, in memory of their own."""
    drawn = []
    for step in draw_steps(start, count, share):
        index = step - start
        drawn.append(DrawnStep(step, update.inputs[index].clone(), update.outputs[index].clone()))
    return tuple(drawn)


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
