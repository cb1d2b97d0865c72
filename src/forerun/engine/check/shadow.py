"""Shadow: the state where the sequential run is estimated to be, and how it follows the accepted steps."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_or_base
from forerun.engine.check.restart_point import RestartPoint
from forerun.engine.check.rounding import LARGEST_EXPONENT
from forerun.engine.check.sampled_steps import (
    SMALLEST_SHIFT,
    EvaluateApart,
    advance_shifted,
    draw_steps,
    measure_growth,
    measure_rows,
    sampled_share,
    shift_state,
    subtract_states,
)
from forerun.engine.check.step_samples import (
    DrawnStep,
    SampledSteps,
    measure_factor,
    measure_log_gains,
    take_samples,
)
from forerun.engine.check.waiting_steps import WaitingSteps
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance

EXACT_STEPS_A_SAMPLE: Final = 16  # of which one is sampled, where a drift is carried through exact steps
SMALLEST_DISTANCE: Final = 1e-300  # of a distance
LARGEST_GROWTH: Final = 1e30  # of a distance in one step


@dataclass(frozen=True)
class Shadow:
    """The state where the sequential run is estimated to be, after as many steps as were followed.

    Attributes:
        problem: the process, in rows.
        state: the estimated state.
        jacobian: the estimate of the last step that was followed; None where there is none.
        log_growth: logarithm of how much a distance grew in an exact step, where that was sampled last.
        log_gain: logarithm of how much distances have grown so far, `(*batch,)`; None for zero.
        samples: steps drawn at random, to be evaluated at the shadow.
    """

    problem: Problem
    state: Tree
    jacobian: Jacobian | None = None
    log_growth: float | None = None
    log_gain: Tensor | None = None
    samples: tuple[SampledSteps, ...] = ()

    def measure_distance(self, tolerance: Tolerance, step: int, state: Tree) -> Tensor:
        """Return the distance `(*batch,)` of the shadow from a state, in the norm of the tolerance."""
        state_input = self.problem.observe(state).unsqueeze(0)
        moves = self.problem.observe(self.state).unsqueeze(0) - state_input
        return tolerance.norm(self.problem.step_range(step, step + 1), moves, state_input)[0]

    def follow_exact_steps(self, start: int, states: Sequence[Tree], evaluate: EvaluateApart) -> Shadow:
        """Return the shadow after steps that were taken from their exact states, which show nothing of their slopes.

        At a few of them the state is shifted as the shadow is and the step taken again; the distance grows in the
        others as it does there. It is not taken to shrink: one direction does not show what is left in the others.

        Args:
            start: the first step.
            states: the exact states, from that of the first step to that after the last.
            evaluate: evaluates a few steps.
        """
        count = len(states) - 1
        distance = subtract_states(self.state, states[0])
        size = measure_rows(self.problem, self.state, states[0])
        least = 0 if self.log_growth is not None and count < EXACT_STEPS_A_SAMPLE else 1
        steps = draw_steps(start, count, 1 / EXACT_STEPS_A_SAMPLE, least=least)
        shadow = self
        if size > 0 and steps:
            pairs = [(states[step - start], states[step - start + 1]) for step in steps]
            shadow, distance = self._sample_growth(evaluate, steps, pairs, distance)
        log_gain = min(count * (shadow.log_growth or 0.0), LARGEST_EXPONENT)
        end_state = shift_state(states[-1], distance, exp(log_gain))
        return replace(shadow, state=end_state, jacobian=None, log_gain=shadow.total_log_gain + log_gain)

    @property
    def total_log_gain(self) -> Tensor:
        """Logarithm of how much distances have grown so far, `(*batch,)`."""
        if self.log_gain is not None:
            return self.log_gain
        layout = self.problem.input_layout
        return torch.zeros(layout.batch, dtype=layout.dtype, device=layout.device)

    def _sample_growth(
        self,
        evaluate: EvaluateApart,
        steps: Sequence[int],
        states: Sequence[tuple[Tree, Tree]],
        distance: Tree,
    ) -> tuple[Shadow, Tree]:
        """Return the shadow with the growth that sampled steps show, and the distance, as long, along the new one.

        Args:
            evaluate: evaluates a few steps.
            steps: the sampled steps.
            states: their states before and after.
            distance: of the shadow from the path.
        """
        size = measure_rows(self.problem, shift_state(states[0][0], distance, 1.0), states[0][0])
        state_size = float(self.problem.observe(states[0][0]).double().norm())
        factor = max(1.0, SMALLEST_SHIFT * state_size / max(size, SMALLEST_DISTANCE))
        shifted = [shift_state(before, distance, factor) for before, _ in states]
        next_shifted = advance_shifted(self.problem, evaluate, steps, shifted)
        logarithms = []
        for (before, after), shifted_state, end in zip(states, shifted, next_shifted, strict=True):
            shift = measure_rows(self.problem, shifted_state, before)
            grown = measure_rows(self.problem, end, after)
            logarithms.append(log(min(max(measure_growth(shift, grown), 1.0), LARGEST_GROWTH)))
        shadow = replace(self, log_growth=sum(logarithms) / len(logarithms))
        if not 0 < grown < inf:
            return shadow, distance
        new_distance = subtract_states(next_shifted[-1], states[-1][1])
        return shadow, pytree.tree_map(lambda leaf: leaf * (size / grown), new_distance)

    def follow_in_order(
        self,
        update: WindowUpdate,
        defects: Tensor,
        *,
        base: Tensor | None,
        changes: EvaluationChanges | None,
        drawn: Sequence[DrawnStep] = (),
    ) -> Shadow:
        """Return the shadow after as many steps as there are defects, by the process's own `advance`.

        Args:
            update: the window's update; the shadow stands at its first step.
            defects: `r`, `(n, *batch, E)`.
            base: slopes that the Jacobians begin with, one a step; None for zero.
            changes: differences of the steps' evaluations; None where none was evaluated twice.
            drawn: steps to be sampled.
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
        drawn_steps = {accepted.step for accepted in drawn}
        end_state, distances, factors = self._walk_beside(update, defects, jacobian, drawn_steps)
        shadow = replace(self, state=end_state, jacobian=jacobian.select_step(count - 1))
        return shadow._add_samples(
            drawn,
            update.evaluations.start,
            distances=distances,
            defects=defects,
            jacobian=jacobian,
            factors=factors,
        )

    def _walk_beside(
        self,
        update: WindowUpdate,
        defects: Tensor,
        jacobian: Jacobian,
        drawn_steps: Set[int],
    ) -> tuple[Tree, Tensor, Tensor]:
        """Return the state after the walk, the distances `(n + 1, *batch, D)`, and how outputs enter next inputs."""
        count = len(defects)
        accepted_inputs = update.inputs[:count]
        steps = zip(
            accepted_inputs.unbind(),
            update.outputs[:count].unbind(),
            defects.unbind(),
            jacobian.split_steps(),
            strict=True,
        )
        state = self.state
        distances = []
        factors = torch.ones_like(defects[..., :1])
        for index, (accepted_input, output, defect, step_jacobian) in enumerate(steps):
            distance = self.problem.observe(state) - accepted_input
            distances.append(distance)
            change = defect + step_jacobian.multiply_moves(distance.unsqueeze(0))[0]
            step = update.evaluations.start + index
            if step in drawn_steps:
                factors[index] = self._measure_response(step, state, output, change)
            state = self.problem.advance(step, state, output + change)
        distances.append(self.problem.observe(state) - update.inputs[count])
        return state, torch.stack(distances), factors

    def _measure_response(self, step: int, state: Tree, output: Tensor, change: Tensor) -> Tensor:
        """Return the factor by which a change of a step's output enters the next input."""
        plain = self.problem.observe(self.problem.advance(step, state, output))
        changed = self.problem.observe(self.problem.advance(step, state, output + change))
        return measure_factor(changed - plain, change)

    def follow_waiting_steps(
        self,
        waiting_steps: WaitingSteps,
    ) -> tuple[Shadow, list[RestartPoint]]:
        """Return the shadow after steps that waited, and the restart points among them.

        Args:
            waiting_steps: steps with a closed form; the shadow stands at the first.
        """
        distance = self.problem.observe(self.state) - waiting_steps.first_input
        distances, jacobian = waiting_steps.follow_distance(distance, self.jacobian)
        restart_points = []
        for step, state in waiting_steps.restart_states.items():
            index = step - waiting_steps.start - 1
            shadow_state = self._shift_state(self.problem.observe(state), distances[index])
            restart_points.append(RestartPoint(step, state, shadow_state, jacobian.select_step(index)))
        shadow = replace(
            self,
            state=self._shift_state(waiting_steps.end_input, distances[-1]),
            jacobian=jacobian.select_step(len(waiting_steps) - 1),
        )._add_samples(
            waiting_steps.drawn,
            waiting_steps.start,
            distances=torch.cat([distance.unsqueeze(0), distances]),
            defects=waiting_steps.defects,
            jacobian=jacobian,
            factors=waiting_steps.maps.output_factors,
        )
        return shadow, restart_points

    def _add_samples(
        self,
        drawn: Sequence[DrawnStep],
        start: int,
        *,
        distances: Tensor,
        defects: Tensor,
        jacobian: Jacobian,
        factors: Tensor,
    ) -> Shadow:
        """Return the shadow with the samples of steps that were drawn, and with how much distances have grown."""
        sources = factors * defects
        if sources.shape[-1] != distances.shape[-1]:
            sources = torch.zeros_like(distances[1:])
        log_gains = measure_log_gains(distances[:-1], distances[1:], sources).cumsum(0) + self.total_log_gain
        if not drawn:
            return replace(self, log_gain=log_gains[-1])
        sampled = take_samples(
            drawn,
            start,
            distances=distances,
            defects=defects,
            jacobian=jacobian,
            factors=factors,
            log_gains=log_gains,
            share=sampled_share(self.problem.length),
        )
        return replace(self, log_gain=log_gains[-1], samples=(*self.samples, sampled))

    def _shift_state(self, row: Tensor, distance: Tensor) -> Tree:
        """Return the state at a distance from one that is its own input, given as a row."""
        return self.problem.input_layout.unpack(row + distance)
