"""FilteredAnderson: Anderson mixing on a QR factorisation that Givens rotations carry on, old columns filtered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.anderson_mixing import mix_points
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, Memory, NextPoint
from forerun.engine.numerics.rotations import make_rotations


@dataclass(frozen=True)
class FilteredAnderson(LimitMethod):
    """Anderson mixing of type II whose least squares keep the full accuracy of the dtype.

    The differences `dR`, the newest first, are held as `Q R`. A new one is put in front, and rotations make the matrix
    triangular again (Golub & Van Loan, 6.5.2); the oldest falls off the end. A column that lies within `angle` of the
    newer ones ends the memory, as its coefficients would be noise (Pollock & Rebholz, arXiv 2211.04098).

    Args:
        memory: differences that are kept.
        share: of the residual that is added to the mixture; less than 1 damps.
        angle: sine of the angle to the span of the newer columns, below which the older ones are left out.
    """

    memory: int = 10
    share: float = 1.0
    angle: float = 1e-4

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"FilteredAnderson(memory={self.memory}) has nothing to mix; pass 1 or more, or Plain()")
        if not 0 <= self.angle < 1:
            raise ValueError(f"FilteredAnderson(angle={self.angle}) is not the sine of an angle; pass one in [0, 1)")

    def advance(self, point: LimitPoint) -> NextPoint:
        memory = self._push_columns(point)
        gamma = self._fit_columns(memory, point.residuals)
        dR = memory["R"].mT @ memory["Q"]
        points, is_mixed = mix_points(point, {**memory, "dR": dR}, gamma, self.share)
        return NextPoint(points, memory, is_mixed)

    def _push_columns(self, point: LimitPoint) -> Memory:
        """Return the memory with the last differences in front."""
        points, residuals, memory = point.points, point.residuals, point.memory
        if not memory:
            nothing = points.new_zeros(len(points), 0, points.shape[1])
            square = points.new_zeros(len(points), 0, 0)
            age = torch.ones_like(point.sizes)
            return {"points": points, "residuals": residuals, "age": age, "dX": nothing, "Q": nothing, "R": square}
        is_continued = point.continues.unsqueeze(-1)
        dx = torch.where(is_continued, points - memory["points"], 0.0).unsqueeze(1)
        dr = torch.where(is_continued, residuals - memory["residuals"], 0.0)
        Q, R = insert_column(memory["Q"], memory["R"], dr)
        return {
            "points": points,
            "residuals": residuals,
            "age": memory["age"] + 1,
            "dX": torch.cat([dx, memory["dX"]], 1)[:, : self.memory],
            "Q": Q[:, : self.memory],
            "R": R[:, : self.memory, : self.memory],
        }

    def _fit_columns(self, memory: Memory, residuals: Tensor) -> Tensor:
        """Return the coefficients `(A, m)`; zero from the first column on that lies too close to the newer ones."""
        Q, R = memory["Q"], memory["R"]
        heights = R.diagonal(dim1=-2, dim2=-1).abs()
        lengths = torch.linalg.vector_norm(R, dim=-2)
        is_independent = (heights > self.angle * lengths).to(torch.int64).cumprod(-1).bool()
        eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
        used = is_independent.unsqueeze(-1) & is_independent.unsqueeze(-2)
        right = torch.where(is_independent, (Q @ residuals.unsqueeze(-1)).squeeze(-1), 0.0)
        gamma: Tensor = torch.linalg.solve_triangular(torch.where(used, R, eye), right.unsqueeze(-1), upper=True)
        return gamma.squeeze(-1)


def insert_column(Q: Tensor, R: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of a matrix with one more column in front of its others.

    Args:
        Q: orthonormal rows `(A, m, D)`, or zero ones.
        R: upper triangular `(A, m, m)`; the columns of the matrix are `Q' R`.
        column: `(A, D)`.
    """
    weights = torch.zeros_like(Q[..., 0])
    remainder = column
    for _ in range(2):  # the second pass restores what the first lost to rounding
        correction = (Q @ remainder.unsqueeze(-1)).squeeze(-1)
        remainder = remainder - (correction.unsqueeze(1) @ Q).squeeze(1)
        weights = weights + correction
    height = torch.linalg.vector_norm(remainder, dim=-1, keepdim=True)
    direction = torch.where(height > 0, remainder / height, 0.0)
    Q = torch.cat([Q, direction.unsqueeze(1)], 1)
    front = torch.cat([weights, height], -1).unsqueeze(-1)
    R = torch.cat([front, torch.nn.functional.pad(R, (0, 0, 0, 1))], -1)
    rotation = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device).repeat(len(R), 1, 1)
    for row in range(R.shape[-1] - 2, -1, -1):
        pair = slice(row, row + 2)
        turn = make_rotations(R[:, row, 0], R[:, row + 1, 0]).matrices
        R = torch.cat([R[:, :row], turn @ R[:, pair], R[:, row + 2 :]], 1)
        rotation = torch.cat([rotation[:, :row], turn @ rotation[:, pair], rotation[:, row + 2 :]], 1)
    return rotation @ Q, R.triu()
