"""Samples of accepted steps: what their evaluation at the shadow shows that the estimate does not know.

At a sampled step the estimate takes the output for `o + r + J d`, with the defect `r`, the Jacobian `J` and the
distance `d` of the shadow. One evaluation at `x + d` shows what is left over. It counts for all the steps that nobody
looked at, and grows on its way to the end as the distance of the shadow does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.sampled_steps import EvaluateApart

ROUNDING_MARGIN_OF_SAMPLES: Final = 8  # times rounding that a sample may be off and still agrees
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


def measure_log_gains(before: Tensor, after: Tensor, sources: Tensor) -> Tensor:
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


def measure_left_over(samples: Sequence[SampledSteps], log_gain: Tensor, evaluate: EvaluateApart) -> Tensor:
    """Return how far the end may be from the shadow, `(*batch,)`, by what evaluations at the shadow leave over.

    Args:
        samples: the sampled steps, in at least one part.
        log_gain: logarithm of how much distances have grown up to the end.
        evaluate: evaluates them, in one call.
    """
    inputs = torch.cat([sampled.inputs for sampled in samples])
    steps = torch.tensor([step for sampled in samples for step in sampled.steps], device=inputs.device)
    outputs = evaluate(steps, inputs)
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
