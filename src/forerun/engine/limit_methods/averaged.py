"""Averaged: a part of the way to the value, where the whole way overshoots."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint


@dataclass(frozen=True)
class Averaged(LimitMethod):
    """The iteration of Krasnoselskii and Mann, damped (linear mixing).

        x_{k+1} = x_k + share (T(x_k) - x_k)

    It converges for every map that is nonexpansive and has a fixed point, where the plain iteration may go round it.

    Args:
        share: of the way, in (0, 1); more than 1 overrelaxes.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"Averaged(share={self.share}) does not move towards the value; pass share=0.5")

    def advance(self, point: LimitPoint) -> NextPoint:
        return NextPoint(point.points + self.share * point.residuals)
