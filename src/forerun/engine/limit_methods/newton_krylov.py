"""NewtonKrylov: Newton's method on the residual, its linear systems solved by GMRES on derivatives along directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint
from forerun.engine.numerics.krylov import solve_gmres


@dataclass(frozen=True)
class NewtonKrylov(LimitMethod):
    """Inexact Newton (Knoll & Keyes, J. Comput. Phys. 193, 2004).

        (I - T'(x_k)) d = T(x_k) - x_k    by GMRES,    x_{k+1} = x_k + d

    Quick where the plain iteration does not contract and the state is large. Every application of the derivative
    counts as an evaluation. The map must be differentiable by torch in forward mode, or have `linearise`.

    Args:
        max_directions: applications of the derivative in one step at most.
        accuracy: of the linear systems, relative to the residual; the smaller, the fewer and costlier the steps.
    """

    max_directions: int = 30
    accuracy: float = 1e-2

    def __post_init__(self) -> None:
        if self.max_directions < 1:
            raise ValueError(f"NewtonKrylov(max_directions={self.max_directions}) solves nothing; pass 1 or more")
        if not 0 <= self.accuracy < 1:
            raise ValueError(f"NewtonKrylov(accuracy={self.accuracy}) is not a share; pass one in [0, 1), such as 0.01")

    def advance(self, point: LimitPoint) -> NextPoint:
        def apply_system(directions: Tensor) -> Tensor:
            return directions - point.tools.apply_jacobian(point.points, directions)

        residuals = point.residuals
        steps, _ = solve_gmres(apply_system, residuals, accuracy=self.accuracy, max_steps=self.max_directions)
        # after a step that was taken back, plain values until they have moved away
        is_trial = torch.ones_like(point.continues)
        return NextPoint(point.points + steps, {}, is_trial)
