"""SampledEnd: what is known of the end of a path once its samples are evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.check.deviation_estimator import DeviationEstimator
from forerun.engine.check.growth_probes import measure_farther_reach
from forerun.engine.check.sampled_steps import EvaluateApart
from forerun.engine.check.step_samples import evaluate_samples, list_probes, measure_left_over
from forerun.engine.numerics.tree import Tree
from forerun.engine.tolerance import Tolerance


@dataclass(frozen=True)
class SampledEnd:
    """What the samples of a run say at the end of its path.

    Attributes:
        left_over: how far `(*batch,)` the sequential run may be from the shadow, in the norm of the tolerance.
        reach_ratio: how many times farther distances reach along the path than the shadow takes them to.
    """

    left_over: Tensor
    reach_ratio: float


def sample_end(
    estimator: DeviationEstimator,
    tolerance: Tolerance,
    *,
    step: int,
    state: Tree,
    evaluate: EvaluateApart,
    probes_alone: bool,
) -> SampledEnd:
    """Return what the samples of an estimator say, which evaluates them in one call.

    Args:
        estimator: no step of which waits.
        tolerance: in whose norm.
        step: the last one.
        state: at the end of the path.
        evaluate: evaluates the samples.
        probes_alone: only ask how far distances reach, as all steps are evaluated again anyway.
    """
    assert not estimator.waiting, "the shadow is not there yet"
    problem, shadow = estimator.problem, estimator.shadow
    row = problem.observe(state)
    probes = list_probes(shadow.samples)
    left_over = torch.zeros(row.shape[:-1], device=row.device)
    if not probes and (probes_alone or not shadow.samples):
        return SampledEnd(left_over, reach_ratio=1.0)
    outputs = evaluate_samples(shadow.samples, evaluate, probes_alone=probes_alone)
    reach_ratio = measure_farther_reach(probes, outputs.probes, problem.length) if probes else 1.0
    if probes_alone:
        return SampledEnd(left_over, reach_ratio)
    sizes = measure_left_over(shadow.samples, shadow.total_log_gain, outputs.samples)
    # spread over the row, as only the tolerance knows its unit
    moves = (sizes / max(row.shape[-1], 1) ** 0.5).unsqueeze(-1).expand_as(row)
    steps = problem.step_range(step, step + 1)
    left_over = tolerance.norm(steps, moves.unsqueeze(0), row.unsqueeze(0))[0]
    return SampledEnd(left_over, reach_ratio)


def measure_farthest(estimator: DeviationEstimator, tolerance: Tolerance) -> Tensor | None:
    """Return the distance `(*batch,)` where the last audit took it to be so large that no slope holds; or None."""
    if estimator.farthest is None:
        return None
    step, row, distance = estimator.farthest
    steps = estimator.problem.step_range(step, step + 1)
    return tolerance.norm(steps, distance.unsqueeze(0), row.unsqueeze(0))[0]
