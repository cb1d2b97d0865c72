"""Broyden: the inverse of the Jacobian, updated by every move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, NextPoint

SMALLEST_DENOMINATOR = 1e-6  # of the product of the lengths in it, below which an update is left out


@dataclass(frozen=True)
class Broyden(LimitMethod):
    """Broyden's good method on `r(x) = T(x) - x`, with a limited memory (Broyden, Math. Comp. 19, 1965).

        H_{k+1} = H_k + (s - H_k y) s' H_k / (s' H_k y),    s = x_{k+1} - x_k,  y = r_{k+1} - r_k
        x_{k+1} = x_k - H_k r_k,    H_0 = -share

    Once the memory is full it begins again.

    Args:
        memory: updates that are kept.
        share: of the residual, in the first step.
    """

    memory: int = 20
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"Broyden(memory={self.memory}) has nothing to update; pass 1 or more, or Plain()")

    def advance(self, point: LimitPoint) -> NextPoint:
        residuals, memory = point.residuals, point.memory
        nothing = residuals.new_zeros(len(residuals), 0, residuals.shape[1])
        left, right = memory.get("left", nothing), memory.get("right", nothing)
        if memory:
            left, right = self._update_inverse(point, left, right)
        steps = -self._apply_inverse(residuals, left, right)
        age = memory["age"] + 1 if memory else torch.ones_like(point.sizes)
        following_memory = {
            "age": age,
            "points": point.points,
            "residuals": residuals,
            "left": left,
            "right": right,
        }
        is_trial = (left != 0).any(-1).any(-1)
        return NextPoint(point.points + steps, following_memory, is_trial)

    def _update_inverse(self, point: LimitPoint, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse with one more update, `left` and `right` `(A, m, D)`; a row of zeros where it is none."""
        if left.shape[1] >= self.memory:
            left, right = left[:, :0], right[:, :0]
        s = point.points - point.memory["points"]
        y = point.residuals - point.memory["residuals"]
        Hy = self._apply_inverse(y, left, right)
        sH = self._apply_transposed(s, left, right)
        denominator = (s * Hy).sum(-1, keepdim=True)
        lengths = torch.linalg.vector_norm(s, dim=-1, keepdim=True) * torch.linalg.vector_norm(Hy, dim=-1, keepdim=True)
        is_usable = point.continues.unsqueeze(-1) & (denominator.abs() > SMALLEST_DENOMINATOR * lengths)
        new_left = torch.where(is_usable, (s - Hy) / denominator, 0.0)
        new_right = torch.where(is_usable, sH, 0.0)
        return torch.cat([left, new_left.unsqueeze(1)], 1), torch.cat([right, new_right.unsqueeze(1)], 1)

    def _apply_inverse(self, rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Return `H` times rows `(A, D)`."""
        weights = right @ rows.unsqueeze(-1)
        return (left * weights).sum(1) - self.share * rows

    def _apply_transposed(self, rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Return `H` transposed times rows `(A, D)`."""
        weights = left @ rows.unsqueeze(-1)
        return (right * weights).sum(1) - self.share * rows
