"""Halpern: every value drawn back towards an anchor, less and less; the anchor moves on where that pays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint

NECESSARY_SHARE = 0.8  # of the anchor's residual, that a restart on stagnation or length needs at least
LENGTH_SHARE = 0.36  # of all evaluations, after which a restart is due


@dataclass(frozen=True)
class Halpern(LimitMethod):
    """The anchored iteration of Halpern, restarted where the residual has fallen.

        x_{k+1} = (x_0 + (k + 1) T(x_k)) / (k + 2)

    For every nonexpansive map the residual falls as `1/k` (Lieder, Optim. Lett. 15, 2021), and where there is no fixed
    point it goes to the smallest displacement at the best rate (Park & Ryu, arXiv 2303.15876). Restarts make it linear
    where the map allows that: the anchor moves to the last value once the residual fell to `restart` of the anchor's,
    or to 0.8 of it and then rose or took long (Applegate et al., arXiv 2106.04756).

    Args:
        restart: share of the anchor's residual at which the anchor moves on; 0 never restarts.
    """

    restart: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.restart < 1:
            raise ValueError(f"Halpern(restart={self.restart}) is not a share; pass one in [0, 1), such as 0.2")

    def advance(self, point: LimitPoint) -> NextPoint:
        begins = ~point.continues
        if not bool(begins.all()):
            begins = begins | self._is_due(point)
        age = torch.where(begins, 0.0, point.memory["age"]) if point.memory else torch.zeros_like(point.sizes)
        column = begins.unsqueeze(-1)
        anchor = torch.where(column, point.points, point.memory.get("anchor", point.points))
        weight = ((age + 1) / (age + 2)).unsqueeze(-1)
        memory = {
            "age": age + 1,
            "anchor": anchor,
            "anchor_size": torch.where(begins, point.sizes, point.memory.get("anchor_size", point.sizes)),
            "last_size": point.sizes,
        }
        return NextPoint(anchor + weight * (point.values - anchor), memory)

    def _is_due(self, point: LimitPoint) -> Tensor:
        """Return where the anchor moves on, bool `(A,)`."""
        if self.restart == 0:
            return torch.zeros_like(point.continues)
        sizes, anchor_size = point.sizes, point.memory["anchor_size"]
        has_fallen = sizes <= NECESSARY_SHARE * anchor_size
        rises = sizes > point.memory["last_size"]
        is_long = point.memory["age"] >= max(LENGTH_SHARE * point.iteration, 1)
        return (sizes <= self.restart * anchor_size) | (has_fallen & (rises | is_long))
