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

    memory: int = 5
    share: float = 1.0
    regularization: float = 1e-12

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"AndersonMixing(memory={self.memory}) has nothing to mix; pass 1 or more, or Plain()")
        if not self.share > 0:
            raise ValueError(f"AndersonMixing(share={self.share}) does not move towards the value; pass share=1.0")

    def advance(self, point: LimitPoint) -> NextPoint:
        history = push_differences(point, self.memory)
        plain = point.points + self.share * point.residuals
        dX, dR = history["dX"], history["dR"]
        if not dX.shape[1]:
            return NextPoint(plain, history)
        gamma = fit_coefficients(dR, point.residuals, self.regularization)
        mixed = plain - ((dX + self.share * dR) * gamma.unsqueeze(-1)).sum(1)
        is_trusted = mixed.isfinite().all(-1) & (gamma.abs().sum(-1) <= MAX_MIXING_SUM)
        is_mixed = is_trusted & (gamma != 0).any(-1)
        return NextPoint(torch.where(is_trusted.unsqueeze(-1), mixed, plain), history, is_mixed)


def push_differences(point: LimitPoint, size: int) -> Memory:
    """Return the memory of Anderson-like methods with one more difference, the newest first.

    It has the last point and residual, `(A, D)`, whether there are any, `(A,)`, and the differences `dX`, `dR`
    `(A, m, D)` of at most `size`; a difference that is not there is zero.
    """
    points, residuals, memory = point.points, point.residuals, point.memory
    has_last = torch.ones(len(points), dtype=torch.bool, device=points.device)
    if not memory:
        nothing = points.new_zeros(len(points), 0, points.shape[1])
        return {"points": points, "residuals": residuals, "has_last": has_last, "dX": nothing, "dR": nothing}
    is_continued = memory["has_last"].unsqueeze(-1)
    dx = torch.where(is_continued, points - memory["points"], 0.0).unsqueeze(1)
    dr = torch.where(is_continued, residuals - memory["residuals"], 0.0).unsqueeze(1)
    return {
        "points": points,
        "residuals": residuals,
        "has_last": has_last,
        "dX": torch.cat([dx, memory["dX"][:, : size - 1]], 1),
        "dR": torch.cat([dr, memory["dR"][:, : size - 1]], 1),
    }


def fit_coefficients(dR: Tensor, residuals: Tensor, regularization: float) -> Tensor:
    """Return the coefficients `(A, m)` with which differences `(A, m, D)` come closest to residuals `(A, D)`."""
    lengths = torch.linalg.vector_norm(dR, dim=-1, keepdim=True)
    columns = torch.where(lengths > 0, dR / lengths, 0.0)
    normal = columns @ columns.mT
    right = columns @ residuals.unsqueeze(-1)
    floor = MIN_REGULARIZATION_ROUNDINGS * torch.finfo(normal.dtype).eps
    eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    gamma, _ = torch.linalg.solve_ex(normal + max(regularization, floor) * eye, right)
    return torch.where(lengths > 0, gamma / lengths, 0.0).squeeze(-1)
