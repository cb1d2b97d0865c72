"""Cycled: some plain steps, and then where their sequence is extrapolated to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint
from forerun.engine.limit_methods.sequence_transforms import SequenceTransform, Shanks


@dataclass(frozen=True)
class Cycled(LimitMethod):
    """A sequence transform as a method: `terms` plain values, then the point that they are extrapolated to, again.

    With `Aitken()` and three terms this is Steffensen's method, element by element; with `Shanks()` and `2 m + 1` the
    reduced rank extrapolation of `m` modes. Every residual is of a plain step, so that nothing but the jumps can hurt.

    Args:
        transform: what the terms are extrapolated by.
        terms: points of a cycle, the last value included.
    """

    transform: SequenceTransform = Shanks()
    terms: int = 5

    def __post_init__(self) -> None:
        if self.terms < 3:
            raise ValueError(f"Cycled(terms={self.terms}) has nothing to extrapolate from; pass 3 or more")

    def advance(self, point: LimitPoint) -> NextPoint:
        # problems begin their cycles at different times: terms stand at the end, the first of a cycle is repeated
        repeated = point.points.unsqueeze(1).expand(-1, self.terms, -1)
        age = torch.ones_like(point.sizes)
        terms = repeated
        if point.memory:
            age = point.memory["age"] + 1
            terms = torch.where((age == 1).reshape(-1, 1, 1), repeated, point.memory["terms"])
        terms = torch.cat([terms[:, 1:], point.values.unsqueeze(1)], 1)
        is_full = age >= self.terms - 1
        jump = self.transform.extrapolate(terms.transpose(0, 1))
        points = torch.where(is_full.unsqueeze(-1), jump, point.values)
        is_trial = is_full & (points != point.values).any(-1)
        return NextPoint(points, {"age": torch.where(is_full, 0.0, age), "terms": terms}, is_trial)
