"""What the check keeps in a checkpoint, as a tree of tensors and plain values: slopes, samples, and rounding.

Without it a resumed run takes the slopes before its first step for zero, and never evaluates the samples of the steps
before: what they show of a drift is lost. It is bounded in size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import AcceptedPath, CarriedSteps, ParallelSteps
from forerun.engine.check.arithmetic_drift import ArithmeticDrift
from forerun.engine.check.deviation_estimator import DeviationEstimator
from forerun.engine.check.growth_probes import GrowthProbes
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.rounding import RoundingEstimate
from forerun.engine.check.rounding_sizes import RoundingSizes
from forerun.engine.check.step_samples import SampledSteps
from forerun.engine.rows import Problem

KEPT_ELEMENTS: Final = 2**18  # of samples, beyond which none are kept
ROUNDING_FIELDS: Final = ("together", "rounds", "tested", "stable", "stable_until", "drift_size")
GROWTH_FIELDS: Final = ("log_growth", "aligned_growth")

CheckMemory = Mapping[str, Any]


def remember_check(estimator: DeviationEstimator, rounding: RoundingEstimate) -> dict[str, Any]:
    """Return what a resumed run needs of a check that has followed all accepted steps."""
    shadow = estimator.shadow
    jacobian = shadow.jacobian
    return {
        "jacobian": None if jacobian is None else _list_fields(jacobian),
        "log_growth": shadow.log_growth,
        "log_gain": shadow.log_gain,
        "share": shadow.share,
        "samples": _list_samples(shadow.samples),
        "path": _list_path(shadow.path),
        "rounding": _list_rounding(rounding),
    }


def restore_check(memory: CheckMemory, estimator: DeviationEstimator) -> tuple[DeviationEstimator, RoundingEstimate]:
    """Return the estimator at the step of a checkpoint, and the rounding up to there, with what was kept of both."""
    jacobian = None if memory["jacobian"] is None else Jacobian(**memory["jacobian"])
    if jacobian is not None and not _fits_rows(jacobian.right, estimator.problem, more_axes=1):
        jacobian = None
    shadow = replace(
        estimator.shadow,
        jacobian=jacobian,
        log_growth=memory["log_growth"],
        log_gain=memory["log_gain"],
        share=memory["share"],
        samples=_restore_samples(memory["samples"], estimator.problem),
        path=_restore_path(memory["path"], estimator),
    )
    points = tuple(replace(point, jacobian=jacobian) for point in estimator.restart_points)
    restored = replace(estimator, shadow=shadow, restart_points=points)
    return restored, _restore_rounding(memory["rounding"])


def _list_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by their names."""
    return {entry.name: getattr(value, entry.name) for entry in fields(value)}


def _list_path(path: AcceptedPath) -> dict[str, Any] | None:
    """Return the accepted path as a plain tree; None where it is not whole, or holds too many numbers."""
    if not path.is_whole or path.element_count > KEPT_ELEMENTS:
        return None
    segments = []
    for segment in path.segments:
        entry = _list_fields(segment)
        if isinstance(segment, ParallelSteps):
            entry["jacobian"] = _list_fields(segment.jacobian)
        segments.append(entry)
    return {"step": path.step, "shadow": path.shadow, "segments": segments}


def _restore_path(
    entry: Mapping[str, Any] | None,
    estimator: DeviationEstimator,
) -> AcceptedPath:
    """Return the path up to the step of an estimator; one that begins there where none was kept."""
    fresh = estimator.shadow.path
    if entry is None:
        return fresh
    path = AcceptedPath(entry["step"], entry["shadow"])
    for fields_of_segment in entry["segments"]:
        values = dict(fields_of_segment)
        segment: ParallelSteps | CarriedSteps
        if "jacobian" in values:
            values["jacobian"] = Jacobian(**values["jacobian"])
            segment = ParallelSteps(**values)
        else:
            segment = CarriedSteps(**values)
        path = path.add_segment(segment)
    return path if path.stop == fresh.step else fresh


def _list_samples(samples: Sequence[SampledSteps]) -> list[dict[str, Any]]:
    """Return the samples as plain trees; none where they hold too many numbers."""
    if sum(2 * sampled.inputs.numel() + sampled.outputs.numel() for sampled in samples) > KEPT_ELEMENTS:
        return []
    entries = []
    for sampled in samples:
        entry = _list_fields(sampled)
        entry["steps"] = list(sampled.steps)
        if sampled.probes is not None:
            entry["probes"] = {**_list_fields(sampled.probes), "steps": list(sampled.probes.steps)}
        entries.append(entry)
    return entries


def _restore_samples(
    entries: Sequence[Mapping[str, Any]],
    problem: Problem,
) -> tuple[SampledSteps, ...]:
    samples = []
    for entry in entries:
        probes = entry["probes"]
        if probes is not None:
            probes = GrowthProbes(**probes)
        sampled = SampledSteps(**{**entry, "probes": probes})
        if _fits_rows(sampled.inputs, problem):
            samples.append(sampled)
    return tuple(samples)


def _fits_rows(
    rows: Tensor,
    problem: Problem,
    more_axes: int = 0,
) -> bool:
    """Return whether rows `(n, *batch, ..., D)` are as inputs of a process are."""
    layout = problem.input_layout
    count = len(layout.batch)
    same_batch = rows.shape[1 : 1 + count] == layout.batch and rows.dim() == count + 2 + more_axes
    return same_batch and rows.shape[-1] == layout.width


def _list_rounding(rounding: RoundingEstimate) -> dict[str, Any]:
    """Return the rounding of the accepted steps; sampled steps whose growth was not measured yet are left out."""
    counts = [count for group, _ in rounding.sizes.measured for count in group]
    sizes = [group_sizes.double() for _, group_sizes in rounding.sizes.measured]
    entry = {name: getattr(rounding, name) for name in ROUNDING_FIELDS}
    entry |= {name: list(getattr(rounding, name)) for name in GROWTH_FIELDS}
    drift = rounding.drift.total
    return {**entry, "drift": drift, "counts": counts, "sizes": torch.cat(sizes) if sizes else None}


def _restore_rounding(entry: Mapping[str, Any]) -> RoundingEstimate:
    measured = ((tuple(entry["counts"]), entry["sizes"]),) if entry["counts"] else ()
    plain: dict[str, Any] = {name: entry[name] for name in ROUNDING_FIELDS}
    plain |= {name: tuple(entry[name]) for name in GROWTH_FIELDS}
    sizes = RoundingSizes(measured=measured)
    return RoundingEstimate(**plain, sizes=sizes, drift=ArithmeticDrift(entry["drift"]))
