"""GPTQ: columns are rounded in turn, and the error of each is carried by those after it (arXiv 2210.17323)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.optim.quantization.integer_grid import IntegerGrid
from forerun.optim.quantization.rounding import Rounding


@dataclass(frozen=True)
class GPTQ(Rounding):
    """Round one column after another; the columns after it move to make up for its error, as the inverse Gram says.

    With `U` the upper Cholesky factor of the inverse of `X^T X + damping * mean(diagonal) I`:

        e = (w_j - round(w_j)) / U_jj,    w_k <- w_k - e U_jk  for k > j

    Stated by us from the paper (Frantar, Ashkboos, Hoefler, Alistarh; arXiv 2210.17323), without blocks.

    Args:
        damping: share of the mean diagonal that is added to it; more than zero.

    Raises:
        ValueError: no damping.
    """

    damping: float = 0.01

    def __post_init__(self) -> None:
        if not self.damping > 0:
            raise ValueError(f"damping must be above zero, got {self.damping}: without it the Gram may be singular")

    def choose_integers(self, weights: Tensor, gram: Tensor, grid: IntegerGrid) -> tuple[Tensor, IntegerGrid]:
        factor = self._inverse_factor(gram.double()).to(weights.dtype)
        moved, integers = weights.clone(), torch.empty_like(weights)
        for column in range(weights.shape[-1]):
            integers[..., column : column + 1] = grid.nearest(moved[..., column : column + 1])
            value = integers[..., column : column + 1] * grid.step
            scale = factor[:, column, column][:, None, None]
            error = (moved[..., column : column + 1] - value) / scale
            moved[..., column + 1 :] -= error * factor[:, column : column + 1, column + 1 :]
        return integers, grid

    def _inverse_factor(self, gram: Tensor) -> Tensor:
        """Return the upper Cholesky factor of the damped Gram's inverse; inputs that are always zero count as one."""
        diagonal = gram.diagonal(dim1=1, dim2=2)
        mean = diagonal.mean(-1, keepdim=True)
        shift = torch.where(diagonal > 0, self.damping * mean, torch.ones_like(diagonal))
        damped = gram + torch.diag_embed(shift)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
        return factor
