"""Shadow: the state where the sequential run is estimated to be, and how it follows the accepted steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_or_base
from forerun.engine.check.restart_point import RestartPoint
from forerun.engine.check.waiting_steps import WaitingSteps
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance


@dataclass(frozen=True)
class Shadow:
    """The state where the sequential run is estimated to be, after as many steps as were followed.

    Attributes:
        problem: the process, in rows.
        state: the estimated state.
        jacobian: the estimate of the last step that was followed; None where there is none.
    """

    problem: Problem
    state: Tree
    jacobian: Jacobian | None = None

    def measure_distance(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Return the distance `(*batch,)` of the shadow from a state, in the norm of the tolerance."""
        state_input = self.problem.observe(state).unsqueeze(0)
        moves = self.problem.observe(self.state).unsqueeze(0) - state_input
        return tolerance.norm(self.problem.step_range(step, step + 1), moves, state_input)[0]

    def carry_distance(self, state: Tree, next_state: Tree) -> Shadow:
        """Return the shadow as far from `next_state` as it is from `state`, in what is not whole numbers."""

        def carry_leaf(next_leaf: Any, shadow_leaf: Any, leaf: Any) -> Any:
            if isinstance(next_leaf, Tensor) and next_leaf.is_floating_point():
                return next_leaf + (shadow_leaf - leaf)
            return next_leaf

        return replace(self, state=pytree.tree_map(carry_leaf, next_state, self.state, state))

    def follow_in_order(
        self,
        update: WindowUpdate,
        defects: Tensor,
        *,
        base: Tensor | None,
        changes: EvaluationChanges | None,
    ) -> Shadow:
        """Return the shadow after as many steps as there are defects, by the process's own `advance`.

        Args:
            update: the window's update; the shadow stands at its first step.
            defects: `r`, `(n, *batch, E)`.
            base: slopes that the Jacobians begin with, one a step; None for zero.
            changes: differences of the steps' evaluations; None where none was evaluated twice.
        """
        count = len(defects)
        accepted_inputs = update.inputs[:count]
        jacobian = estimate_or_base(
            changes,
            base=base,
            before=self.jacobian,
            inputs=accepted_inputs,
            outputs=defects,
        )
        steps = zip(
            accepted_inputs.unbind(),
            update.outputs[:count].unbind(),
            defects.unbind(),
            jacobian.split_steps(),
            strict=True,
        )
        state = self.state
        for index, (accepted_input, output, defect, step_jacobian) in enumerate(steps):
            distance = self.problem.observe(state) - accepted_input
            correction = step_jacobian.multiply_moves(distance.unsqueeze(0))[0]
            step = update.evaluations.start + index
            state = self.problem.advance(step, state, output + defect + correction)
        return replace(self, state=state, jacobian=jacobian.select_step(count - 1))

    def follow_waiting_steps(
        self,
        waiting_steps: WaitingSteps,
        restart_states: Mapping[int, Tree],
    ) -> tuple[Shadow, list[RestartPoint]]:
        """Return the shadow after steps that waited, and the restart points among them.

        Args:
            waiting_steps: steps with a closed form; the shadow stands at the first.
            restart_states: accepted states of the steps that become restart points, these and others.
        """
        distance = self.problem.observe(self.state) - waiting_steps.first_input
        distances, jacobian = waiting_steps.follow_distance(distance, self.jacobian)
        restart_points = []
        for step, state in restart_states.items():
            if waiting_steps.start < step <= waiting_steps.stop:
                index = step - waiting_steps.start - 1
                shadow_state = self._shift_state(self.problem.observe(state), distances[index])
                restart_point = RestartPoint(step, state, shadow_state, jacobian.select_step(index))
                restart_points.append(restart_point)
        shadow = replace(
            self,
            state=self._shift_state(waiting_steps.end_input, distances[-1]),
            jacobian=jacobian.select_step(len(waiting_steps) - 1),
        )
        return shadow, restart_points

    def _shift_state(self, row: Tensor, distance: Tensor) -> Tree:
        """Return the state at a distance from one that is its own input, given as a row."""
        return self.problem.input_layout.unpack(row + distance)
