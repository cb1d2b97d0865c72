"""EvaluatedPoints: the points of the problems that go on, with their values and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from forerun.engine.certificates import Evidence, Knowledge
from forerun.engine.limit_methods.base import Memory
from forerun.engine.limit_status import LimitStatus
from forerun.engine.search.ended import EndedProblems
from forerun.engine.search.monitor import Watch, find_diverged, find_running_away, find_stalled, measure_rate


@dataclass(frozen=True)
class EvaluatedPoints:
    """Points just evaluated, once the safeguard has judged them.

    Attributes:
        points: `x`, `(A, D)`.
        values: `T(x)`, `(A, D)`.
        residuals: `T(x) - x`, `(A, D)`.
        sizes: of these, `(A,)`.
        is_kept: bool `(A,)`; the others are taken back.
        is_finite: bool `(A,)`, which values are.
        measured: by the safeguard, `(A,)`.
    """

    points: Tensor
    values: Tensor
    residuals: Tensor
    sizes: Tensor
    is_kept: Tensor
    is_finite: Tensor
    measured: Tensor

    @cached_property
    def keeps_all(self) -> bool:
        """Whether no point is taken back."""
        return bool(self.is_kept.all())

    def select(self, rows: Tensor) -> EvaluatedPoints:
        """Return some of the points."""
        return EvaluatedPoints(
            self.points[rows],
            self.values[rows],
            self.residuals[rows],
            self.sizes[rows],
            self.is_kept[rows],
            self.is_finite[rows],
            self.measured[rows],
        )


def keep_rows(is_kept: Tensor, new: Memory, old: Memory) -> Memory:
    """Return the new memory in the rows that are kept, and the old one in the others."""
    merged = {}
    for name, tensor in new.items():
        if name in old:
            mask = is_kept.reshape(-1, *[1] * (tensor.dim() - 1))
            merged[name] = torch.where(mask, tensor, old[name])
        else:
            merged[name] = tensor
    return merged


def judge_problems(
    evaluated: EvaluatedPoints,
    knowledge: list[Knowledge],
    watch: Watch,
    evidence: Evidence,
) -> Tensor:
    """Return how each problem stands: int64 `(A,)`, RUNNING for those that go on, CONVERGED before it is certified."""
    epsilon = evidence.rows.epsilon
    is_stalled = find_stalled(watch, evaluated.points, evidence.residuals, epsilon)
    codes = torch.where(is_stalled, LimitStatus.STALLED.code, LimitStatus.RUNNING.code)
    codes = codes.masked_fill(find_diverged(watch, evaluated.points), LimitStatus.DIVERGED.code)
    is_small = evaluated.sizes <= evidence.threshold
    for entry in knowledge:
        if entry.status_codes is not None:
            codes = torch.where(entry.status_codes == LimitStatus.RUNNING.code, codes, entry.status_codes)
        if entry.is_required and entry.bounds is not None:
            is_small = is_small & _keeps_bound(entry, evidence.threshold)
    if bool(is_small.any()):
        is_small = is_small & ~find_running_away(watch, evaluated.points, evidence.residuals)
    codes = codes.masked_fill(is_small, LimitStatus.CONVERGED.code)
    codes = codes.masked_fill(~evaluated.is_finite, LimitStatus.NOT_FINITE.code)
    return codes if evaluated.keeps_all else codes.masked_fill(~evaluated.is_kept, LimitStatus.RUNNING.code)


def _keeps_bound(entry: Knowledge, threshold: float) -> Tensor:
    """Return where a bound keeps the threshold, or was refuted and means nothing."""
    assert entry.bounds is not None
    keeps = entry.bounds <= threshold
    return keeps if entry.is_proven is None else keeps | ~entry.is_proven


def end_problems(
    evaluated: EvaluatedPoints,
    codes: Tensor,
    knowledge: list[Knowledge],
    watch: Watch,
) -> EndedProblems:
    """Return the ends of problems as they stand: the last value where it is the limit, the best point where not."""
    is_here = codes == LimitStatus.CONVERGED.code
    is_best = ~(is_here | (codes == LimitStatus.CYCLE.code) | (codes == LimitStatus.NO_FIXED_POINT.code))
    column = is_best.unsqueeze(-1)
    bounds, is_proven = choose_bounds(knowledge, evaluated.sizes)
    periods = torch.zeros_like(codes)
    for entry in knowledge:
        if entry.periods is not None:
            periods = torch.maximum(periods, entry.periods)
    reached = torch.where(is_here.unsqueeze(-1), evaluated.values, evaluated.points)
    return EndedProblems(
        points=evaluated.points,
        limits=torch.where(column, watch["best_point"], reached),
        displacements=torch.where(column, watch["best_value"] - watch["best_point"], evaluated.residuals),
        codes=torch.where(is_here & is_proven, LimitStatus.CERTIFIED.code, codes),
        sizes=torch.where(is_best, watch["best_size"], evaluated.sizes),
        rates=measure_rate(watch),
        bounds=torch.where(is_here, bounds, float("nan")),
        periods=periods,
        iterations=watch["iterations"].to(torch.int64),
    )


def choose_bounds(knowledge: list[Knowledge], sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest proven bound of each problem, or else the largest estimate; and where it is proven."""
    proven = torch.full_like(sizes, float("inf"))
    estimate = torch.full_like(sizes, float("nan"))
    for entry in knowledge:
        if entry.bounds is None:
            continue
        if entry.is_proven is None:
            estimate = torch.fmax(estimate, entry.bounds)
        else:
            proven = torch.where(entry.is_proven & (entry.bounds < proven), entry.bounds, proven)
    is_proven = proven.isfinite()
    return torch.where(is_proven, proven, estimate), is_proven
