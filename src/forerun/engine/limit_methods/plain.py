"""Plain: the iteration as it is written down, the truth that the other methods are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint


@dataclass(frozen=True)
class Plain(LimitMethod):
    """The map itself, again and again.

    x_{k+1} = T(x_k)
    """

    def advance(self, point: LimitPoint) -> NextPoint:
        return NextPoint(point.values)
