"""DeviationEstimator: the shadow beside the accepted path, followed from round to round.

Where steps have a closed form, they wait until there are enough of them to follow together: following costs its
calls, not its elements, where a network is small. Wide rows hardly wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import AcceptedPath
from forerun.engine.check.accepted_round import AcceptedRound, EvaluatedWindow
from forerun.engine.check.evaluation_changes import differs_beyond_rounding
from forerun.engine.check.jacobian_estimate import LOW_RANK_WIDTH
from forerun.engine.check.path_audit import FarthestStep, audit_path
from forerun.engine.check.restart_point import RestartPoint, is_restart_due
from forerun.engine.check.sampled_steps import EvaluateApart, sampled_share
from forerun.engine.check.shadow import Shadow
from forerun.engine.check.state_distance import largest_size, measure_state_distance
from forerun.engine.check.waiting_steps import WaitingSteps, draw_steps_of, group_rounds, measure_round
from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.numerics.replaced_fields import replace_fields
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
        history: what was evaluated in the last rounds that the shadow has followed, the newest last.
        waiting: rounds whose accepted steps the shadow has not followed yet.
        waiting_elements: numbers that these hold, all together.
        last_restart_step: the step of the last restart point, those in waiting included.
        retraced: the inputs of the sequential run as the last audit found them, from the step `path.step` of the shadow
            on; None where there was none, or not for all steps.
        farthest: where the last audit took the sequential run so far from the path that no slope holds; None where not.
    """

    problem: Problem
    shadow: Shadow
    restart_points: tuple[RestartPoint, ...]
    history: tuple[EvaluatedWindow, ...] = ()
    waiting: tuple[AcceptedRound, ...] = ()
    waiting_elements: int = 0
    last_restart_step: int = 0
    retraced: Tensor | None = None
    farthest: FarthestStep | None = None

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
        shadow = Shadow(problem, last.shadow, AcceptedPath(last.step, last.shadow), last.jacobian)
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
        closely: bool,
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
            closely: follow the shadow through every step that was taken in order.
            evaluate: evaluates a few steps, where a drift is carried through steps that show nothing of their slopes.
        """
        window = EvaluatedWindow.from_update(update, sound)
        step = window_state.start + accepted
        state = update.states[accepted - 1]
        if exact:
            shadow = Shadow(self.problem, state, AcceptedPath(step, state))
            return replace_fields(self, shadow=shadow)._remember_windows([window])._add_restart_point(step, state)
        count = accepted
        if unmoved:
            count = min(self._count_evaluated_twice(window), accepted)
        if not self._has_shown_slopes(window):
            count = 0
        if count == accepted:
            return self._follow_round(window, update, count)
        state_before = window_state.state
        if count:
            state_before = update.states[count - 1]
        states = [state_before, *(update.states[index] for index in range(count, accepted))]
        estimator = self._follow_round(window, update, count).follow_waiting()
        start = window_state.start + count
        if update.in_order:
            shadow = estimator.shadow.follow_steps_in_order(start, states, evaluate, closely=closely)
        else:
            outputs = update.outputs[count:accepted]
            shadow = estimator.shadow.follow_exact_steps(start, states, outputs, evaluate)
        return replace_fields(estimator, shadow=shadow)._add_restart_point(step, state)

    def follow_waiting(self) -> DeviationEstimator:
        """Return the estimator when no step waits any more."""
        if not self.waiting:
            return self
        shadow, restart_points, history = self.shadow, self.restart_points, self.history
        for rounds in group_rounds(self.waiting):
            steps = WaitingSteps.from_rounds(self.problem, history, rounds, depth=self._depth)
            shadow, new_points = shadow.follow_waiting_steps(steps)
            restart_points = (*restart_points, *new_points)
            history = (*history, *(waiting_round.window for waiting_round in rounds))
        followed = replace_fields(self, shadow=shadow, restart_points=restart_points, waiting=(), waiting_elements=0)
        return followed._remember_windows(history[len(self.history) :])

    def go_back(self, tolerance: Tolerance, excess: float, requested: float) -> DeviationEstimator:
        """Return the estimator at the first step to blame for a deviation `excess` where `requested` was asked for.

        A drift that a restart point shows may have been amplified by as much as the whole path shows, `excess`;
        so the last restart point is taken whose drift would still keep to a quarter of what was requested, and which
        lies before the step at which the sequential run left the path.
        """
        sound_points = []
        last_step = self.problem.length - 1
        if self.farthest is not None:
            last_step = self.farthest.step
        for point in self.restart_points:
            if point.step > last_step:
                break
            drift = measure_state_distance(self.problem, tolerance, point.step, state=point.state, other=point.shadow)
            if largest_size(drift) * excess <= requested**2 / 4:
                sound_points.append(point)
        restart_points = tuple(sound_points) or self.restart_points[:1]
        return self._return_to(restart_points)

    def go_to_start(self) -> DeviationEstimator:
        """Return the estimator where the run began."""
        return self._return_to(self.restart_points[:1])

    def _return_to(self, restart_points: tuple[RestartPoint, ...]) -> DeviationEstimator:
        """Return the estimator at the last of some restart points, with the path up to there."""
        estimator = self.from_restart_points(self.problem, restart_points)
        last = restart_points[-1]
        if last.shadow is last.state or last.step <= self.shadow.path.step:
            return estimator
        shadow = replace_fields(estimator.shadow, path=self.shadow.path.cut_at(last.step))
        return replace_fields(estimator, shadow=shadow)

    def audit_path(self, evaluate: EvaluateApart, *, is_cautious: bool = False) -> DeviationEstimator:
        """Return the estimator with the shadow where an evaluation of all steps finds it, here and where it restarts.

        As it is where the path was too large to be kept.
        """
        path = self.shadow.path
        if not path.is_whole:
            return self
        steps = {point.step for point in self.restart_points if point.step > path.step}
        walk = audit_path(self.problem, path, steps, evaluate, is_cautious=is_cautious)
        restart_points = []
        for point in self.restart_points:
            if point.step in walk.shadows:
                point = replace_fields(point, shadow=walk.shadows[point.step])
            restart_points.append(point)
        shadow = replace_fields(self.shadow, state=walk.state)
        return replace_fields(
            self,
            shadow=shadow,
            restart_points=tuple(restart_points),
            retraced=walk.retrace_inputs(path),
            farthest=walk.find_farthest(path),
        )

    def estimate_deviation(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Return the estimated distance `(*batch,)` of a state from the sequential run's, in the tolerance's norm."""
        assert not self.waiting, "the shadow is not there yet"
        return measure_state_distance(self.problem, tolerance, step, state=state, other=self.shadow.state)

    @property
    def _depth(self) -> int:
        """How many evaluations of a step are remembered."""
        if self.problem.input_layout.width > LOW_RANK_WIDTH:
            return 2
        return REMEMBERED_EVALUATIONS

    def _remember_windows(self, windows: Sequence[EvaluatedWindow]) -> DeviationEstimator:
        """Return the estimator with the evaluations of more rounds."""
        history = (*self.history, *windows)
        return replace_fields(self, history=history[-self._depth :])

    def _count_evaluated_twice(self, window: EvaluatedWindow) -> int:
        """Return the number of leading steps of a window that were evaluated in the one before too."""
        windows = [*self.history, *(waiting_round.window for waiting_round in self.waiting)]
        if not windows:
            return 0
        older = windows[-1].evaluations.select_steps(window.start, len(window))
        return min(window.evaluations.skeleton.dense_count, older.skeleton.dense_count)

    def _has_shown_slopes(self, window: EvaluatedWindow) -> bool:
        """Return whether anything is known of slopes up to here: an evaluation at another input has shown some."""
        if self.shadow.jacobian is not None or self.waiting:
            return True
        inputs = window.evaluations.inputs
        for older_window in self.history:
            older = older_window.evaluations.select_steps(window.start, len(window)).inputs
            if differs_beyond_rounding(inputs[: len(older)], older):
                return True
        return False

    def _follow_round(self, window: EvaluatedWindow, update: WindowUpdate, count: int) -> DeviationEstimator:
        """Return the estimator after the first `count` steps of a round; with a closed form they may wait."""
        if not count:
            return self.follow_waiting()._remember_windows([window])
        stop = window.start + count
        accepted_round = AcceptedRound(window, update.inputs, update.moves, update.slopes, count)
        if self.problem.has_closed_form(window.start, count):
            return self._let_round_wait(accepted_round, update.states[count - 1])
        settled = self.follow_waiting()
        share = sampled_share(self.problem.length)
        defects, changes = measure_round(self.problem, settled.history, accepted_round, depth=self._depth)
        shadow = settled.shadow.follow_in_order(
            update,
            defects,
            base=accepted_round.base,
            changes=changes,
            drawn=draw_steps_of([accepted_round], share),
        )
        followed = replace_fields(settled, shadow=shadow)._remember_windows([window])
        return followed._add_restart_point(stop, update.states[count - 1])

    def _let_round_wait(self, accepted_round: AcceptedRound, state: Tree) -> DeviationEstimator:
        """Return the estimator with one more round in waiting, or after all of them where they have grown large.

        Args:
            accepted_round: the round.
            state: the accepted state after it.
        """
        last_restart_step = self.last_restart_step
        if self._is_restart_due(accepted_round.stop):
            last_restart_step = accepted_round.stop
            # a copy, as a state may be a view into a whole window, which would live on with it
            accepted_round = replace_fields(accepted_round, restart_state=tree_map(torch.clone, state))
        elements = self.waiting_elements + accepted_round.element_count
        estimator = replace_fields(
            self,
            waiting=(*self.waiting, accepted_round),
            waiting_elements=elements,
            last_restart_step=last_restart_step,
        )
        return estimator.follow_waiting() if elements > WAITING_ELEMENTS else estimator

    def _add_restart_point(self, step: int, state: Tree) -> DeviationEstimator:
        """Return the estimator with a restart point at an accepted state, where one is due."""
        if not self._is_restart_due(step):
            return self
        state_copy = tree_map(torch.clone, state)
        shadow_copy = state_copy
        if self.shadow.state is not state:
            shadow_copy = tree_map(torch.clone, self.shadow.state)
        restart_point = RestartPoint(step, state_copy, shadow_copy, self.shadow.jacobian)
        return replace_fields(self, restart_points=(*self.restart_points, restart_point), last_restart_step=step)

    def _is_restart_due(self, step: int) -> bool:
        """Whether a restart point is due at a step."""
        return is_restart_due(step, self.last_restart_step, self.problem.length)
