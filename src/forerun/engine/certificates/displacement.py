"""Displacement: a map without a fixed point, seen by residuals that settle at a vector that is not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.limit_status import LimitStatus
from forerun.engine.tolerance import largest_element

NOT_YET = 10  # points before the first comparison


@dataclass(frozen=True)
class Displacement(Certificate):
    """The smallest displacement of a nonexpansive map, as the limit of `x_k - T(x_k)` and of `(x_0 - x_k) / k`.

    Where the map has no fixed point both go to the same vector, which is not zero (Pazy, 1971; Baillon, Bruck & Reich,
    1978). The search ends with `NO_FIXED_POINT` once they agree, and once the residual has not changed since half of
    the points before: two conditions, as a slow residual alone looks the same for a while. This is an estimate: a
    map that converges by less than `accuracy` in all these points looks the same. For methods whose
    points travel with the map: `Plain()`, `Averaged()`, `Halpern(restart=0)`.

    Args:
        accuracy: relative, to which the vectors must agree.
        travel: how far the points must have gone, in residuals, as against the first.
    """

    accuracy: float = 1e-6
    travel: float = 300.0

    def follow(self, evidence: Evidence) -> Knowledge:
        points = evidence.points
        codes: Tensor | None = None
        memory = dict(evidence.memory)
        iteration = evidence.iteration
        if memory and iteration > NOT_YET:
            is_still = (
                largest_element(evidence.residuals - memory["anchor_residual"]) <= self.accuracy * evidence.lengths
            )
            if bool(is_still.any()):
                is_settled = is_still & self._is_settled(evidence, memory)
                codes = torch.where(is_settled, LimitStatus.NO_FIXED_POINT.code, LimitStatus.RUNNING.code)
        if not memory:
            memory["first"] = points
        if iteration & (iteration - 1) == 0 or "anchor" not in memory:
            memory |= {
                "anchor": points,
                "anchor_residual": evidence.residuals,
                "since": torch.full_like(evidence.problems, iteration),
            }
        return Knowledge(status_codes=codes, memory=memory)

    def _is_settled(self, evidence: Evidence, memory: Mapping[str, Tensor]) -> Tensor:
        """Return where residual and travel have pointed the same way for long, bool `(A,)`."""
        residuals, size = evidence.residuals, evidence.lengths
        travel = evidence.points - memory["anchor"]
        span = (evidence.iteration - memory["since"]).clamp_min(1).unsqueeze(-1)
        is_long = span.squeeze(-1) >= memory["since"].clamp_min(NOT_YET) - 1
        # over the second half of the points; the shares of averaging and the weights of Halpern scale the travel
        direction = travel / span
        scale = (direction * residuals).sum(-1, keepdim=True) / (residuals**2).sum(-1, keepdim=True)
        agrees = largest_element(direction / scale - residuals) <= self.accuracy * size
        has_travelled = largest_element(evidence.points - memory["first"]) > self.travel * size
        is_moving = evidence.sizes > evidence.threshold
        return is_long & agrees & has_travelled & is_moving & (scale.squeeze(-1) > 0)
