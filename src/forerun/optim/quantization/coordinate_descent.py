"""Coordinate descent on the integers of a layer: COMQ (Zhang et al., arXiv 2403.07134)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.optim.quantization.integer_grid import IntegerGrid
from forerun.optim.quantization.rounding import Rounding


@dataclass(frozen=True)
class CoordinateDescent(Rounding):
    """Minimise |X (w - v)|^2 over one integer after another, the others held, several times over; rows are independent.

    The best value of coordinate `j` is that which the residual asks for, rounded to the grid:

        v_j <- round(v_j + <x_j, X (w - v)> / |x_j|^2)

    In the first sweep a weight that was not visited yet stands for itself. From then on no step makes the error larger;
    with `first=GPTQ()` none does from the beginning, so that the end is at least as good as that rule's.

    Args:
        sweeps: over all columns.
        greedy: visit in order of |w_j| |x_j|, the largest first, for every row; False to visit columns as they come.
        fits_step: fit the step of the grid to the integers after every sweep (in the paper; the public code does not).
        first: a rule whose integers the first sweep begins with; None to begin with the weights themselves.

    Raises:
        ValueError: no sweeps.
    """

    sweeps: int = 3
    greedy: bool = True
    fits_step: bool = True
    first: Rounding | None = None

    def __post_init__(self) -> None:
        if self.sweeps < 1:
            raise ValueError(f"a layer is swept at least once, got sweeps={self.sweeps}: CoordinateDescent(sweeps=3)")

    def choose_integers(self, weights: Tensor, gram: Tensor, grid: IntegerGrid) -> tuple[Tensor, IntegerGrid]:
        order = self._visiting_order(weights, gram)
        values = weights.clone()
        if self.first is not None:
            integers, grid = self.first.choose_integers(weights, gram, grid)
            values = integers * grid.step
        for _ in range(self.sweeps):
            _sweep_columns(values, weights, gram, grid=grid, order=order)
            integers = grid.nearest(values)
            if self.fits_step:
                grid = grid.fit_step(integers, weights, gram)
                values = integers * grid.step
        return integers, grid

    def _visiting_order(self, weights: Tensor, gram: Tensor) -> Tensor:
        """Return columns in the order of their visits, `(groups, rows, columns)`, or one row for all."""
        groups, _, columns = weights.shape
        if not self.greedy:
            return torch.arange(columns, device=weights.device).expand(groups, 1, columns)
        lengths = gram.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        return (weights.abs() * lengths[:, None]).argsort(dim=-1, descending=True, stable=True)


def _sweep_columns(
    values: Tensor,
    weights: Tensor,
    gram: Tensor,
    *,
    grid: IntegerGrid,
    order: Tensor,
) -> None:
    """Visit every column once, and change its values in place."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    inverse = torch.where(diagonal > 0, 1 / diagonal, torch.zeros_like(diagonal))
    pull = (weights - values) @ gram  # <x_j, X (w - v)>
    groups = torch.arange(len(gram), device=gram.device)[:, None]
    for visited in order.unbind(-1):
        columns = visited.expand(values.shape[:2])[..., None]
        old = values.gather(-1, columns)
        target = old + pull.gather(-1, columns) * inverse[groups, visited][..., None]
        new = grid.round_values(target)
        values.scatter_(-1, columns, new)
        pull.addcmul_(old - new, gram[groups, visited])
