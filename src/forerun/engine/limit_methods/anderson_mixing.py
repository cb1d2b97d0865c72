"""AndersonMixing: the last residuals combined to the smallest, and the values combined likewise (type II)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, Memory, NextPoint

MIN_REGULARIZATION_ROUNDINGS = 8.0  # of the row's dtype, below which a regularisation does nothing
MAX_MIXING_SUM = 1e4  # sum of the sizes of coefficients beyond which a mixture is not trusted


@dataclass(frozen=True)
class AndersonMixing(LimitMethod):
    """Anderson mixing of type II, regularised (Walker & Ni, SIAM J. Numer. Anal. 49, 2011; Pulay mixing, DIIS).

        gamma = argmin |r_k - dR gamma|^2 + regularization |gamma|^2,    r = T(x) - x
        x_{k+1} = x_k + share r_k - (dX + share dR) gamma

    with `dX`, `dR` the differences of the last points and residuals, each column of `dR` scaled to one. Where a
    mixture is not finite or wild the plain value stands in for it; where it made matters worse the safeguard takes it
    back and the memory begins again.

    Args:
        memory: differences that are kept.
        share: of the residual that is added to the mixture; less than 1 damps.
        regularization: relative to columns of length one; at least some roundings are taken.
    """

    memory: int = 10
    share: float = 1.0
    regularization: float = 1e-12

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"AndersonMixing(memory={self.memory}) has nothing to mix; pass 1 or more, or Plain()")
        if not self.share > 0:
            raise ValueError(f"AndersonMixing(share={self.share}) does not move towards the value; pass share=1.0")

    def advance(self, point: LimitPoint) -> NextPoint:
        history = push_differences(point, self.memory)
        gamma = fit_coefficients(history["dR"], point.residuals, self.regularization)
        points, is_mixed = mix_points(point, history, gamma, self.share)
        return NextPoint(points, history, is_mixed, fallback=point.take_step(self.share))


def mix_points(
    point: LimitPoint,
    history: Memory,
    gamma: Tensor,
    share: float,
) -> tuple[Tensor, Tensor]:
    """Return the mixtures of points `(A, D)`, and where they are mixtures: not where one is wild, or nothing is mixed.

    Args:
        point: the last points and values.
        history: differences, of `push_differences`.
        gamma: their coefficients `(A, m)`.
        share: of the residual.
    """
    plain = point.take_step(share)
    weights = gamma.unsqueeze(-2)
    change = torch.bmm(weights, history["dX"]) + share * torch.bmm(weights, history["dR"])
    mixed = plain - change.squeeze(-2)
    is_bounded = gamma.abs().sum(-1) <= MAX_MIXING_SUM
    is_trusted = is_bounded & mixed.isfinite().all(-1)
    is_mixed = is_trusted & (gamma != 0).any(-1)
    return torch.where(is_trusted.unsqueeze(-1), mixed, plain), is_mixed


def push_differences(point: LimitPoint, size: int) -> Memory:
    """Return the memory of Anderson-like methods with one more difference, the newest first.

    It has the last point and residual, `(A, D)`, the number of points since it began, `(A,)`, and the differences
    `dX`, `dR` `(A, m, D)` of at most `size`; a difference that is not there is zero.
    """
    points, residuals, memory = point.points, point.residuals, point.memory
    if not memory:
        nothing = points.new_zeros(len(points), 0, points.shape[1])
        age = torch.ones_like(point.sizes)
        return {"points": points, "residuals": residuals, "age": age, "dX": nothing, "dR": nothing}
    is_continued = point.continues.unsqueeze(-1)
    dx = torch.where(is_continued, points - memory["points"], 0.0).unsqueeze(1)
    dr = torch.where(is_continued, residuals - memory["residuals"], 0.0).unsqueeze(1)
    return {
        "points": points,
        "residuals": residuals,
        "age": memory["age"] + 1,
        "dX": torch.cat([dx, memory["dX"][:, : size - 1]], 1),
        "dR": torch.cat([dr, memory["dR"][:, : size - 1]], 1),
    }


def fit_coefficients(dR: Tensor, residuals: Tensor, regularization: float) -> Tensor:
    """Return the coefficients `(A, m)` with which differences `(A, m, D)` come closest to residuals `(A, D)`."""
    lengths = torch.linalg.vector_norm(dR, dim=-1, keepdim=True)
    scales = (1 / lengths).masked_fill(lengths == 0, 0.0)
    # scaled after the products, which have far fewer elements than the differences
    normal = torch.bmm(dR, dR.mT) * scales * scales.mT
    right = torch.bmm(dR, residuals.unsqueeze(-1)) * scales
    floor = MIN_REGULARIZATION_ROUNDINGS * torch.finfo(normal.dtype).eps
    normal.diagonal(dim1=-2, dim2=-1).add_(max(regularization, floor))
    gamma, _ = torch.linalg.solve_ex(normal, right)
    coefficients: Tensor = (gamma * scales).squeeze(-1)
    return coefficients
