"""Secant: one scalar per step and sample, from the last two evaluations of that step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowState
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod
from forerun.engine.numerics.native.rows import fit_secants
from forerun.engine.rows import interpolate_rows


@dataclass(frozen=True)
class Secant(SlopeMethod):
    """The slope that explains best what the last change of a step's input did to its output.

        s_i = <o_i - o_i', u_i - u_i'> / |u_i - u_i'|^2

    with `'` for the evaluation before. It costs no evaluation. A step evaluated once takes the slope of the
    nearest step before it that was evaluated twice, interpolated to the next one where there is one. A slope beyond
    `bound`, or not finite, is dropped.

    Args:
        bound: largest slope taken, by size.
    """

    bound: float = 10.0

    @property
    def needs_every_step(self) -> bool:
        return False

    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        outputs = window_state.evaluate_skeleton(evaluate)
        if window_state.previous is None or not window_state.problem.accepts_slopes:
            return SlopedOutputs(outputs)
        previous = window_state.previous.select_steps(window_state.start, outputs.shape[0])
        count = previous.inputs.shape[0]
        if not count:
            return SlopedOutputs(outputs)
        slopes = self._fit_secants(window_state.inputs[:count], outputs[:count], previous)
        slots = window_state.list_slots_evaluated_twice()
        if not slots:
            return SlopedOutputs(outputs)
        if len(slots) < count:
            slopes = interpolate_rows(slopes[slots], slots, count)
        entered_shape = (outputs.shape[0] - count, *slopes.shape[1:])
        entered_slopes = slopes[-1:].expand(entered_shape)
        return SlopedOutputs(outputs, torch.cat([slopes, entered_slopes]))

    def _fit_secants(self, inputs: Tensor, outputs: Tensor, previous: StepEvaluations) -> Tensor:
        """Return the slopes `(n, *batch, 1)` of steps that were evaluated before."""
        slopes = fit_secants(inputs, outputs, previous.inputs, previous.outputs, bound=self.bound)
        if slopes is not None:
            return slopes
        input_changes = inputs - previous.inputs
        output_changes = outputs - previous.outputs
        products = torch.linalg.vecdot(output_changes.to(input_changes), input_changes)
        scalars = products / torch.linalg.vecdot(input_changes, input_changes)
        return torch.where(scalars.abs() <= self.bound, scalars, 0.0).unsqueeze(-1)  # nan <= bound is False
