"""Potentials: convex functions whose gradient is the mirror, and whose Bregman divergence is the distance.

    D(x, y) = phi(x) - phi(y) - <grad phi(y), x - y>

A point is a tensor `(..., D)`; leading axes hold several points, each with a divergence of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

MIRROR_PRECISION = 1e-12  # of points found behind their mirror images
MAX_NEWTON_STEPS = 100
MAX_MIRROR_HALVINGS = 40
SUFFICIENT_SHARE = 1e-4  # of the decrease that the slope promises
VALUE_ROUNDING = 1e-15


class Potential(ABC):
    """A strictly convex, differentiable function, with its gradient and the inverse of that."""

    @abstractmethod
    def measure_value(self, x: Tensor) -> Tensor:
        """Return the function at points `(..., D)`, shape `(...)`."""

    @abstractmethod
    def mirror(self, x: Tensor) -> Tensor:
        """Return the gradient at points, `(..., D)`."""

    @abstractmethod
    def unmirror(self, dual: Tensor) -> Tensor:
        """Return the points `(..., D)` of which these are the gradients."""

    def measure_divergence(
        self,
        x: Tensor,
        y: Tensor,
    ) -> Tensor:
        """Return `D(x, y)`, shape `(...)`; never negative but for rounding."""
        slope = (self.mirror(y) * (x - y)).sum(-1)
        return self.measure_value(x) - self.measure_value(y) - slope


@final
@dataclass(frozen=True)
class QuadraticPotential(Potential):
    """`phi(x) = x' Q x / 2`: half the squared distance in the norm of a matrix, by default the Euclidean one.

    Args:
        matrix: `Q`, `(D, D)`, symmetric and positive definite; None for the identity.
    """

    matrix: Tensor | None = None

    def __post_init__(self) -> None:
        if self.matrix is None:
            return
        if self.matrix.dim() != 2 or not torch.allclose(self.matrix, self.matrix.mT):
            raise ValueError(f"matrix of shape {list(self.matrix.shape)} is not symmetric; pass (Q + Q.T) / 2")
        if not bool(torch.linalg.cholesky_ex(self.matrix).info == 0):
            raise ValueError(
                "matrix is not positive definite: its potential is not convex; add a multiple of torch.eye"
            )

    def measure_value(self, x: Tensor) -> Tensor:
        return (x * self.mirror(x)).sum(-1) / 2

    def mirror(self, x: Tensor) -> Tensor:
        return x if self.matrix is None else x @ self.matrix

    def unmirror(self, dual: Tensor) -> Tensor:
        if self.matrix is None:
            return dual
        point: Tensor = torch.linalg.solve(self.matrix, dual.unsqueeze(-1)).squeeze(-1)
        return point

    def measure_divergence(
        self,
        x: Tensor,
        y: Tensor,
    ) -> Tensor:
        return self.measure_value(x - y)  # the same, without what cancels


@final
@dataclass(frozen=True)
class Entropy(Potential):
    """`phi(x) = sum x log x` on the simplex: positive numbers whose sum is 1.

    Its divergence is that of Kullback and Leibler.
    """

    def measure_value(self, x: Tensor) -> Tensor:
        value: Tensor = torch.special.xlogy(x, x).sum(-1)
        return value

    def mirror(self, x: Tensor) -> Tensor:
        """Return logarithms of mean zero: on the simplex gradients are known up to a constant."""
        logs = x.log()
        return logs - logs.mean(-1, keepdim=True)

    def unmirror(self, dual: Tensor) -> Tensor:
        return dual.softmax(-1)

    def measure_divergence(
        self,
        x: Tensor,
        y: Tensor,
    ) -> Tensor:
        # sum x log(x / y) - x + y, in which every term is positive
        divergence: Tensor = (torch.special.xlogy(x, x / y) - x + y).sum(-1)
        return divergence


@final
@dataclass(frozen=True)
class CustomPotential(Potential):
    """A potential of one's own, differentiated by torch.

    Args:
        function: from points `(..., D)` to numbers `(...)`, each point by itself.
        inverse: from gradients to points; left out, it is found by Newton's method, point by point.
    """

    function: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor] | None = None

    def measure_value(self, x: Tensor) -> Tensor:
        return self.function(x)

    def mirror(self, x: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(lambda points: self.function(points).sum())(x)
        return gradient

    def unmirror(self, dual: Tensor) -> Tensor:
        if self.inverse is not None:
            return self.inverse(dual)
        targets = dual.reshape(-1, dual.shape[-1])
        points = [self._find_point(target) for target in targets]
        return torch.stack(points).reshape(dual.shape)

    def _find_point(self, target: Tensor) -> Tensor:
        """Return the point with a gradient `(D,)`, which minimises `phi(x) - <target, x>`: Newton's method, damped."""

        def measure_gap(x: Tensor) -> Tensor:
            return self.function(x) - (target * x).sum()

        x, threshold = torch.zeros_like(target), MIRROR_PRECISION * (1 + float(target.abs().max()))
        for _ in range(MAX_NEWTON_STEPS):
            slope = self.mirror(x) - target
            if float(slope.abs().max()) <= threshold:
                return x
            step = torch.linalg.solve(torch.func.hessian(self.function)(x), slope)
            x = _descend_damped(measure_gap, x, step, decrease=float(slope @ step))
        raise ValueError(
            f"no point was found whose mirror image is {target.tolist()[:4]}: Newton's method did not end in "
            f"{MAX_NEWTON_STEPS} steps; pass CustomPotential(function, inverse=...)"
        )


def _descend_damped(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    step: Tensor,
    *,
    decrease: float,
) -> Tensor:
    """Return a point less the longest of a step's halves with which a function falls."""
    value, share = float(function(x)), 1.0
    for _ in range(MAX_MIRROR_HALVINGS):
        moved = x - share * step
        fallen = float(function(moved))
        if fallen <= value - SUFFICIENT_SHARE * share * decrease + VALUE_ROUNDING * abs(value):
            return moved
        share /= 2
    return moved
