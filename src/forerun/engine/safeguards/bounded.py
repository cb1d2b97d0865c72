"""Bounded: the residual of an accelerated point may grow by a factor, and no more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.safeguards.base import JudgedPoints, Safeguard

ROOM_ABOVE_BEST = 10.0  # times the best residual, from where on no growth is allowed


@dataclass(frozen=True)
class Bounded(Safeguard):
    """An accelerated point is taken back where its residual is more than `growth` times that of the point before.

    So that growth does not add up, it is also held against the best residual so far, with some room.

    Args:
        growth: 1 asks for residuals that fall (as SCS does); accelerated iterations are quicker where residuals may
            grow a little on their way.
    """

    growth: float = 10.0

    def __post_init__(self) -> None:
        if not self.growth > 0:
            raise ValueError(f"Bounded(growth={self.growth}) accepts nothing; pass growth=10.0, or method=Plain()")

    def measure(self, judged: JudgedPoints) -> Tensor:
        return judged.sizes

    def accepts(self, measured: Tensor, last: Tensor, best: Tensor) -> Tensor:
        reference = torch.minimum(last, ROOM_ABOVE_BEST * best)
        return measured <= self.growth * reference
