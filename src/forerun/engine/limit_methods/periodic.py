"""Periodic: plain steps, and a mixture every few of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.limit_methods.anderson_mixing import AndersonMixing
from forerun.engine.limit_methods.averaged import Averaged
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint


@dataclass(frozen=True)
class Periodic(LimitMethod):
    """Another method's step every `period` evaluations, averaged steps between (Banerjee et al., arXiv 1512.01604).

    The steps between collect differences that a mixture of every step would make nearly dependent; known as periodic
    Pulay mixing in electronic structure. The method must remember by differences, as `AndersonMixing` does.

    Args:
        method: whose step is taken.
        period: evaluations from one such step to the next.
        between: the method of the other steps.
    """

    method: LimitMethod = AndersonMixing()
    period: int = 3
    between: LimitMethod = Averaged(0.5)

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"Periodic(period={self.period}) never takes a step; pass 2 or more")

    def advance(self, point: LimitPoint) -> NextPoint:
        accelerated = self.method.advance(point)
        if (point.iteration + 1) % self.period == 0:
            return accelerated
        steady = self.between.advance(point)
        return NextPoint(steady.points, accelerated.memory, torch.zeros_like(point.continues))
