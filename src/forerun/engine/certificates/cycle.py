"""Cycle: an iteration that comes back to where it was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.limit_status import LimitStatus
from forerun.engine.tolerance import largest_element

RETURN_ROUNDINGS = 16.0  # of the largest element, to which a point must come back
MOVE_OVER_RETURN = 1e3  # how much longer than the distance of the return the moves of a cycle are


@dataclass(frozen=True)
class Cycle(Certificate):
    """A period, found by comparing every point with the one at the last power of two (Brent, BIT 20, 1980).

    A cycle is one only where a point comes back to rounding while the residuals stay large. A method that stays at one
    point, as Newton's does where its system is singular, has stalled.
    """

    def follow(self, evidence: Evidence) -> Knowledge:
        points, iteration = evidence.points, evidence.iteration
        memory = evidence.memory
        codes: Tensor | None = None
        periods: Tensor | None = None
        if memory:
            distances = largest_element(points - memory["anchor"])
            is_back = distances <= RETURN_ROUNDINGS * evidence.rows.epsilon * largest_element(points)
            if bool(is_back.any()):
                is_moving = (evidence.lengths > MOVE_OVER_RETURN * distances) & (evidence.sizes > evidence.threshold)
                periods = torch.where(is_back & is_moving, iteration - memory["since"], 0)
                codes = torch.where(periods > 0, LimitStatus.CYCLE.code, LimitStatus.RUNNING.code)
                is_stuck = periods == 1
                codes = codes.masked_fill(is_stuck, LimitStatus.STALLED.code)
                periods = periods.masked_fill(is_stuck, 0)
        if not memory or iteration & (iteration - 1) == 0:
            memory = {"anchor": points, "since": torch.full_like(evidence.problems, iteration)}
        return Knowledge(status_codes=codes, periods=periods, memory=memory)
