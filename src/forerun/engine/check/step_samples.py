"""Samples of accepted steps: what their evaluation at the shadow shows that the estimate does not know.

At a sampled step the estimate takes the output for `o + r + J d`, with the defect `r`, the Jacobian `J` and the
distance `d` of the shadow. One evaluation at `x + d` shows what is left over. It counts for all the steps that nobody
looked at, and grows on its way to the end as the distance of the shadow does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.check.growth_probes import GrowthProbes
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.sampled_steps import EvaluateApart

ROUNDING_MARGIN_OF_SAMPLES: Final = 8  # times rounding that a sample may be off and still agrees
SAMPLES_A_PROBE: Final = 4
LARGEST_LOG_GAIN: Final = 60.0


class DrawnStep(NamedTuple):
    """A step that was drawn when it was accepted: its input and its output, as the sweep used it."""

    step: int
    input: Tensor
    output: Tensor


@dataclass(frozen=True)
class SampledSteps:
    """Accepted steps to be evaluated at the shadow.

    Attributes:
        steps: the steps, `m` of them.
        inputs: the shadow's inputs, `(m, *batch, D)`.
        outputs: what the estimate takes for their outputs there, `(m, *batch, E)`.
        factors: by which an error of an output enters the next state, `(m, *batch, 1)` or broadcast to it.
        log_gains: logarithms of how much distances have grown up to the step after each, `(m, *batch)`.
        share: how likely a step was to be drawn.
    """

    steps: Sequence[int]
    inputs: Tensor
    outputs: Tensor
    factors: Tensor
    log_gains: Tensor
    share: float
    probes: GrowthProbes | None = None

    def add_probes(
        self,
        probed: Sequence[int],
        jacobian: Jacobian,
        state_factors: Tensor,
    ) -> SampledSteps:
        """Return the samples with growth probes.

        Args:
            probed: which of the samples are probed.
            jacobian: the estimates of these.
            state_factors: `a` of their closed form.
        """
        if not probed:
            return self
        probes = GrowthProbes.draw(
            [self.steps[index] for index in probed],
            self.inputs[probed],
            jacobian,
            state_factors=state_factors,
            output_factors=self.factors[probed],
        )
        return replace(self, probes=probes)


class SampledOutputs(NamedTuple):
    """What the evaluation of the samples gave.

    Attributes:
        samples: outputs at the shadow, `(m, *batch, E)`.
        probes: outputs at the inputs of all growth probes, at their shifted inputs, and at the first turned shift.
    """

    samples: Tensor
    probes: Tensor


def evaluate_samples(
    samples: Sequence[SampledSteps],
    evaluate: EvaluateApart,
    *,
    probes_alone: bool,
) -> SampledOutputs:
    """Return the outputs of all samples and their probes, or of these alone, evaluated in one call."""
    steps: list[int] = []
    rows: list[Tensor] = []
    if not probes_alone:
        steps = [step for sampled in samples for step in sampled.steps]
        rows = [sampled.inputs for sampled in samples]
    count = len(steps)
    probes = list_probes(samples)
    for shifts_count in range(2):
        for part in probes:
            steps.extend(part.steps)
            rows.append(part.inputs + shifts_count * part.shifts)
    if probes:
        steps.append(probes[0].steps[0])
        rows.append(probes[0].inputs[:1] + probes[0].turn_first_shift())
    inputs = torch.cat(rows)
    outputs = evaluate(torch.tensor(steps, device=inputs.device), inputs)
    return SampledOutputs(outputs[:count], outputs[count:])


def list_probes(samples: Sequence[SampledSteps]) -> list[GrowthProbes]:
    """Return the growth probes of some samples."""
    return [sampled.probes for sampled in samples if sampled.probes is not None]


def choose_probed(steps: Sequence[int], share: float) -> list[int]:
    """Return which of some sampled steps are probed too: a share of them, whatever the rounds."""
    return [index for index, step in enumerate(steps) if int(step * share) % SAMPLES_A_PROBE == 0]


def measure_log_gains(
    before: Tensor,
    after: Tensor,
    sources: Tensor,
) -> Tensor:
    """Return logarithms `(n, *batch)` of how much distances grow in steps, what is added in them left out."""
    smallest = torch.finfo(before.dtype).tiny
    sizes = torch.linalg.vector_norm(before, dim=-1)
    grown = torch.linalg.vector_norm(after - sources, dim=-1)
    gains = torch.where(sizes > smallest, grown / sizes.clamp_min(smallest), 1.0)
    return gains.clamp(1e-6, 1e6).log().nan_to_num(0.0)


def measure_factor(response: Tensor, change: Tensor) -> Tensor:
    """Return how a change of an output enters the next input, `(*batch, 1)`: one where that shows nothing."""
    smallest = torch.finfo(change.dtype).tiny
    sizes = torch.linalg.vector_norm(change, dim=-1, keepdim=True)
    factors = torch.linalg.vector_norm(response, dim=-1, keepdim=True) / sizes.clamp_min(smallest)
    return torch.where((factors > 0) & factors.isfinite(), factors, 1.0)


def take_samples(
    accepted_steps: Sequence[DrawnStep],
    start: int,
    *,
    distances: Tensor,
    defects: Tensor,
    jacobian: Jacobian,
    factors: Tensor,
    log_gains: Tensor,
    share: float,
) -> SampledSteps:
    """Return the samples of some steps from `start` on, at least one, whose distances are known.

    Args:
        accepted_steps: those that were drawn.
        start: the first step.
        distances: `(n, *batch, D)` before each step.
        defects: `r`, `(n, *batch, E)`.
        jacobian: the estimates of the steps.
        factors: `b` of the closed form, `(n, ..., 1)`.
        log_gains: `(n, *batch)`, summed up from the beginning of the run.
        share: how likely a step was to be drawn.
    """
    steps = [accepted.step for accepted in accepted_steps]
    indices = [step - start for step in steps]
    sampled_distances = distances[indices]
    corrections = jacobian.select_steps(indices).multiply_moves(sampled_distances)
    return SampledSteps(
        steps=steps,
        inputs=torch.stack([accepted.input for accepted in accepted_steps]) + sampled_distances,
        outputs=torch.stack([accepted.output for accepted in accepted_steps]) + defects[indices] + corrections,
        factors=factors[indices],
        log_gains=log_gains[indices],
        share=share,
    )


def measure_left_over(
    samples: Sequence[SampledSteps],
    log_gain: Tensor,
    outputs: Tensor,
) -> Tensor:
    """Return how far the end may be from the shadow, `(*batch,)`, by what evaluations at the shadow leave over.

    Args:
        samples: the sampled steps, in at least one part.
        log_gain: logarithm of how much distances have grown up to the end.
        outputs: of the samples, at the shadow.
    """
    expected = torch.cat([sampled.outputs for sampled in samples])
    factors = torch.cat([sampled.factors for sampled in samples])
    log_gains = torch.cat([sampled.log_gains for sampled in samples])
    rounding = ROUNDING_MARGIN_OF_SAMPLES * torch.finfo(outputs.dtype).eps * outputs.abs()
    surprise = outputs - expected
    surprise = torch.where(surprise.abs() <= rounding, 0.0, surprise)
    sizes = torch.linalg.vector_norm(factors * surprise, dim=-1)
    growth = (log_gain - log_gains).clamp_max(LARGEST_LOG_GAIN).exp()
    contributions = (sizes * growth).nan_to_num(torch.inf, torch.inf)
    left_over: Tensor = torch.linalg.vector_norm(contributions, dim=0) / samples[0].share
    return left_over
