"""EndedProblems: the problems of a batch that have ended, each with its limit and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from forerun.engine.limit_status import LimitStatus


@dataclass(frozen=True)
class EndedProblems:
    """The ends of problems; over a whole batch, with entries that mean nothing for those that go on.

    Attributes:
        points: the last ones evaluated, `(B, D)`.
        limits: what is handed out, `(B, D)`.
        displacements: `T(x) - x`, `(B, D)`.
        codes: `LimitStatus.code`, int64 `(B,)`; RUNNING for those that go on.
        sizes: of the residuals, `(B,)`.
        rates: `(B,)`.
        bounds: of the errors, `(B,)`.
        periods: int64 `(B,)`.
        iterations: points evaluated, `(B,)`.
    """

    points: Tensor
    limits: Tensor
    displacements: Tensor
    codes: Tensor
    sizes: Tensor
    rates: Tensor
    bounds: Tensor
    periods: Tensor
    iterations: Tensor

    @classmethod
    def begin(cls, points: Tensor) -> EndedProblems:
        """Return the ends of a batch of which none has ended, at its first points `(B, D)`."""
        unknown = points.new_full((len(points),), float("nan"))
        running = torch.full((len(points),), LimitStatus.RUNNING.code, dtype=torch.int64, device=points.device)
        return cls(
            points=points,
            limits=points,
            displacements=torch.full_like(points, float("nan")),
            codes=running,
            sizes=unknown,
            rates=unknown,
            bounds=unknown,
            periods=torch.zeros_like(running),
            iterations=torch.zeros_like(running),
        )

    def select(self, rows: Tensor) -> EndedProblems:
        """Return the entries of some problems."""
        return EndedProblems(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    def insert(self, problems: Tensor, ended: EndedProblems) -> EndedProblems:
        """Return the ends with those of some problems in their places."""
        merged = {}
        for entry in fields(self):
            merged[entry.name] = getattr(self, entry.name).index_copy(0, problems, getattr(ended, entry.name))
        return EndedProblems(**merged)
