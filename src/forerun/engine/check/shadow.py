"""Shadow: the state where the sequential run is estimated to be, and how it follows the accepted steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import AcceptedPath, CarriedSteps, ParallelSteps
from forerun.engine.check.audited_steps import measure_shares
from forerun.engine.check.carried_distance import (
    EXACT_STEPS_A_SAMPLE,
    CarriedDistance,
    carry_closely,
    carry_distance,
)
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_or_base
from forerun.engine.check.restart_point import RestartPoint
from forerun.engine.check.sampled_steps import (
    FARTHEST_SLOPE,
    EvaluateApart,
    sampled_share,
    shift_state,
    subtract_states,
)
from forerun.engine.check.step_samples import (
    DrawnStep,
    SampledSteps,
    choose_probed,
    measure_log_gains,
    take_samples,
)
from forerun.engine.check.waiting_steps import WaitingSteps
from forerun.engine.check.walk_beside import walk_beside
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem


@dataclass(frozen=True)
class Shadow:
    """The state where the sequential run is estimated to be, after as many steps as were followed.

    Attributes:
        problem: the process, in rows.
        state: the estimated state.
        path: the steps that were followed.
        jacobian: the estimate of the last step that was followed; None where there is none.
        log_growth: logarithm of how much a distance grew in an exact step, where that was sampled last.
        log_gain: logarithm of how much distances have grown so far, `(*batch,)`; None for zero.
        samples: steps drawn at random, to be evaluated at the shadow.
        share: the largest distance so far in sizes of its input; None for zero.
    """

    problem: Problem
    state: Tree
    path: AcceptedPath
    jacobian: Jacobian | None = None
    log_growth: float | None = None
    log_gain: Tensor | None = None
    samples: tuple[SampledSteps, ...] = ()
    share: Tensor | None = None

    def follow_exact_steps(
        self, start: int, states: Sequence[Tree], outputs: Tensor, evaluate: EvaluateApart
    ) -> Shadow:
        """Return the shadow after steps evaluated together with others, but at their exact inputs, and only once.

        Args:
            start: the first step.
            states: the exact states, from that of the first step to that after the last.
            outputs: `(n, *batch, E)`.
            evaluate: evaluates a few steps.
        """
        inputs = torch.stack([self.problem.observe(state) for state in states[:-1]])
        jacobian = Jacobian.from_base(None, inputs=inputs, outputs=outputs)
        if self.jacobian is not None:
            jacobian = self.jacobian.repeat_steps(len(inputs))
        carried = self._carry_distance(start, states, evaluate, closely=False)
        steps = ParallelSteps(start, inputs, outputs, self.problem.observe(states[-1]), jacobian)
        return self._arrive_at(states[-1], carried, steps)

    def follow_steps_in_order(
        self,
        start: int,
        states: Sequence[Tree],
        evaluate: EvaluateApart,
        *,
        closely: bool,
        steps_a_sample: int = EXACT_STEPS_A_SAMPLE,
    ) -> Shadow:
        """Return the shadow after steps that were taken in order, from their exact states.

        Args:
            start: the first step.
            states: the exact states, from that of the first step to that after the last.
            evaluate: evaluates a few steps.
            closely: take every step again, rather than a few.
            steps_a_sample: steps of which one is taken again otherwise.
        """
        carried = self._carry_distance(start, states, evaluate, closely=closely, steps_a_sample=steps_a_sample)
        steps = CarriedSteps(
            start=start,
            stop=start + len(states) - 1,
            first_state=states[0],
            end_state=states[-1],
            first_distance=subtract_states(self.state, states[0]),
            end_distance=carried.distance,
            log_gain=carried.log_gain,
        )
        return self._arrive_at(states[-1], carried, steps)

    def _carry_distance(
        self,
        start: int,
        states: Sequence[Tree],
        evaluate: EvaluateApart,
        *,
        closely: bool,
        steps_a_sample: int = EXACT_STEPS_A_SAMPLE,
    ) -> CarriedDistance:
        """Return the distance from some exact states carried through their steps."""
        distance = subtract_states(self.state, states[0])
        if closely:
            return carry_closely(self.problem, start, states, distance=distance, evaluate=evaluate)
        return carry_distance(
            self.problem,
            start,
            states,
            distance=distance,
            log_growth=self.log_growth,
            evaluate=evaluate,
            steps_a_sample=steps_a_sample,
        )

    def _arrive_at(
        self,
        state: Tree,
        carried: CarriedDistance,
        steps: ParallelSteps | CarriedSteps,
    ) -> Shadow:
        """Return the shadow at a distance from an exact state, after some steps."""
        return replace(
            self,
            state=shift_state(state, carried.distance, 1.0),
            log_growth=carried.log_growth,
            log_gain=self.total_log_gain + carried.log_gain,
            path=self.path.add_segment(steps),
        )

    @property
    def left_path(self) -> bool:
        """Whether the shadow was ever so far from the path that the slopes there do not hold for it."""
        return self.share is not None and bool(self.share > FARTHEST_SLOPE)

    @property
    def total_log_gain(self) -> Tensor:
        """Logarithm of how much distances have grown so far, `(*batch,)`."""
        if self.log_gain is not None:
            return self.log_gain
        layout = self.problem.input_layout
        return torch.zeros(layout.batch, dtype=layout.dtype, device=layout.device)

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
        end_state, distances, factors = walk_beside(
            self.problem, self.state, update, defects=defects, jacobian=jacobian, drawn_steps=drawn_steps
        )
        steps = ParallelSteps.from_update(update, jacobian)
        shadow = replace(
            self,
            state=end_state,
            path=self.path.add_segment(steps),
            jacobian=jacobian.select_step(count - 1),
        )
        return shadow._add_samples(
            drawn,
            update.evaluations.start,
            inputs=accepted_inputs,
            distances=distances,
            defects=defects,
            jacobian=jacobian,
            factors=factors,
        )

    def follow_waiting_steps(
        self,
        waiting_steps: WaitingSteps,
    ) -> tuple[Shadow, list[RestartPoint]]:
        """Return the shadow after steps that waited, and the restart points among them.

        Args:
            waiting_steps: steps with a closed form; the shadow stands at the first.
        """
        distance = self.problem.observe(self.state) - waiting_steps.inputs[0]
        distances, jacobian = waiting_steps.follow_distance(distance, self.jacobian)
        restart_points = []
        for step, state in waiting_steps.restart_states.items():
            index = step - waiting_steps.start - 1
            shadow_state = self._shift_state(self.problem.observe(state), distances[index])
            restart_points.append(RestartPoint(step, state, shadow_state, jacobian.select_step(index)))
        steps = ParallelSteps(
            start=waiting_steps.start,
            inputs=waiting_steps.inputs,
            outputs=waiting_steps.outputs,
            end_input=waiting_steps.end_input,
            jacobian=jacobian,
        )
        shadow = replace(
            self,
            state=self._shift_state(waiting_steps.end_input, distances[-1]),
            path=self.path.add_segment(steps),
            jacobian=jacobian.select_step(len(waiting_steps) - 1),
        )._add_samples(
            waiting_steps.drawn,
            waiting_steps.start,
            inputs=waiting_steps.inputs,
            distances=torch.cat([distance.unsqueeze(0), distances]),
            defects=waiting_steps.defects,
            jacobian=jacobian,
            factors=waiting_steps.maps.output_factors,
            state_factors=waiting_steps.maps.state_factors,
        )
        return shadow, restart_points

    def _add_samples(
        self,
        drawn: Sequence[DrawnStep],
        start: int,
        *,
        inputs: Tensor,
        distances: Tensor,
        defects: Tensor,
        jacobian: Jacobian,
        factors: Tensor,
        state_factors: Tensor | None = None,
    ) -> Shadow:
        """Return the shadow with the samples of steps that were drawn, and with how much distances have grown."""
        sources = factors * defects
        if sources.shape[-1] != distances.shape[-1]:
            sources = torch.zeros_like(distances[1:])
        log_gains = measure_log_gains(distances[:-1], distances[1:], sources).cumsum(0) + self.total_log_gain
        share = measure_shares(distances[:-1], inputs).amax()
        if self.share is not None:
            share = torch.maximum(share, self.share)
        if not drawn:
            return replace(self, log_gain=log_gains[-1], share=share)
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
        if state_factors is not None:
            probed = choose_probed(sampled.steps, sampled.share)
            indices = [sampled.steps[index] - start for index in probed]
            sampled = sampled.add_probes(probed, jacobian.select_steps(indices), state_factors[indices])
        return replace(self, log_gain=log_gains[-1], samples=(*self.samples, sampled), share=share)

    def _shift_state(
        self,
        row: Tensor,
        distance: Tensor,
    ) -> Tree:
        """Return the state at a distance from one that is its own input, given as a row."""
        return self.problem.input_layout.unpack(row + distance)
