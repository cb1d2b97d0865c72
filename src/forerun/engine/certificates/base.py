"""Certificate: what is known of the distance to the limit, or of there being none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from forerun.engine.limit_methods import MapTools
from forerun.engine.map_rows import MapRows


@dataclass(frozen=True)
class Evidence:
    """An evaluated point as certificates see it, of the problems that go on.

    Attributes:
        rows: the map.
        problems: int64 `(A,)`.
        iteration: points evaluated before this one.
        points: `x`, `(A, D)`.
        values: `T(x)`, `(A, D)`.
        residuals: `T(x) - x`, `(A, D)`.
        lengths: of these, `(A,)`, by their largest elements.
        sizes: of the residuals, `(A,)`, in the norm of the tolerance.
        threshold: what they are held against.
        read_gains: gives `(A,)`, the largest size of a move over that of the residual's change, in the last few moves:
            an estimate of the norm of `(I - T')^-1`, from below.
        ratios: `(A,)`, the size of the value's last move over that of the point's; nan before there are two.
        memory: what the certificate handed on.
        tools: the map, for certificates that conclude.
    """

    rows: MapRows
    problems: Tensor
    iteration: int
    points: Tensor
    values: Tensor
    residuals: Tensor
    lengths: Tensor
    sizes: Tensor
    threshold: float
    read_gains: Callable[[], Tensor]
    ratios: Tensor
    memory: Mapping[str, Tensor]
    tools: MapTools

    def with_memory(self, memory: Mapping[str, Tensor]) -> Evidence:
        """Return the evidence for the certificate that handed this on."""
        evidence = copy(self)
        object.__setattr__(evidence, "memory", memory)
        return evidence

    def select(self, is_selected: Tensor) -> Evidence:
        """Return the evidence of some problems, bool `(A,)`, without a memory; for them alone nothing is evaluated."""
        return replace(
            self,
            problems=self.problems[is_selected],
            points=self.points[is_selected],
            values=self.values[is_selected],
            residuals=self.residuals[is_selected],
            lengths=self.lengths[is_selected],
            sizes=self.sizes[is_selected],
            read_gains=lambda: self.read_gains()[is_selected],
            ratios=self.ratios[is_selected],
            memory={},
        )


@dataclass(frozen=True)
class Knowledge:
    """What a certificate knows of the problems that go on; None where it says nothing.

    Attributes:
        bounds: of the distance from the value to the limit, `(A,)`, in the norm of the tolerance; nan where unknown.
        is_proven: bool `(A,)`, where the bound is a theorem and no estimate.
        is_required: the bound must keep the threshold before a problem has converged.
        status_codes: int64 `(A,)`, `LimitStatus.code` of problems that end here; RUNNING for the others.
        periods: int64 `(A,)`, of the cycles among them.
        memory: comes back with the next evidence; every tensor begins with the axis of the problems.
        notes: sentences for the user.
    """

    bounds: Tensor | None = None
    is_proven: Tensor | None = None
    is_required: bool = False
    status_codes: Tensor | None = None
    periods: Tensor | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def spread(self, is_selected: Tensor) -> Knowledge:
        """Return what is known of some problems as knowledge of all, bool `(A,)`: nothing of the others."""
        bounds, is_proven = self.bounds, self.is_proven
        if bounds is not None:
            everywhere = bounds.new_full(is_selected.shape, float("nan"))
            everywhere[is_selected] = bounds
            bounds = everywhere
        if is_proven is not None:
            nowhere = torch.zeros_like(is_selected)
            nowhere[is_selected] = is_proven
            is_proven = nowhere
        return Knowledge(bounds=bounds, is_proven=is_proven, notes=self.notes)


class Certificate(ABC):
    """A source of knowledge about a limit, asked at every evaluated point that is kept."""

    @abstractmethod
    def follow(self, evidence: Evidence) -> Knowledge:
        """Return what the point says, from tensors alone: no evaluation."""

    def conclude(self, evidence: Evidence) -> Knowledge:
        """Return what can be said of problems that have converged; it may evaluate, and is called once for each."""
        return Knowledge()
