"""AndersonTypeOne: the secant conditions of Broyden's good update, on the last few moves at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.anderson_mixing import mix_points, push_differences
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint


@dataclass(frozen=True)
class AndersonTypeOne(LimitMethod):
    """Anderson mixing of type I (Fang & Saad, 2009; Zhang, O'Donoghue & Boyd, arXiv 1808.03971).

        gamma = (dX^T dR)^-1 dX^T r_k
        x_{k+1} = x_k + share r_k - (dX + share dR) gamma

    It approximates the Jacobian where type II approximates its inverse: quicker on some maps of optimisers, less
    steady on most others.

    Args:
        memory: differences that are kept.
        share: of the residual that is added to the mixture.
        regularization: relative to the size of `dX^T dR`.
    """

    memory: int = 5
    share: float = 1.0
    regularization: float = 1e-8

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"AndersonTypeOne(memory={self.memory}) has nothing to mix; pass 1 or more, or Plain()")

    def advance(self, point: LimitPoint) -> NextPoint:
        history = push_differences(point, self.memory)
        gamma = self._fit_secants(history["dX"], history["dR"], point.residuals)
        points, is_mixed = mix_points(point, history, gamma, self.share)
        return NextPoint(points, history, is_mixed)

    def _fit_secants(self, dX: Tensor, dR: Tensor, residuals: Tensor) -> Tensor:
        """Return the coefficients `(A, m)`; zero for differences that are not there."""
        lengths = torch.linalg.vector_norm(dX, dim=-1, keepdim=True)
        is_there = lengths > 0
        directions = torch.where(is_there, dX / lengths, 0.0)
        changes = torch.where(is_there, dR / lengths, 0.0)
        products = directions @ changes.mT
        right = directions @ residuals.unsqueeze(-1)
        scale = products.abs().amax((-2, -1), keepdim=True) if products.numel() else products.new_ones(1)
        eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
        # the residual falls along its moves: the products are negative where the map contracts
        shift = torch.where(is_there, self.regularization * scale, -1.0)
        gamma, _ = torch.linalg.solve_ex(products - shift * eye, right)
        return torch.where(is_there, gamma / lengths, 0.0).squeeze(-1)
