"""GridMap: a functional equation on functions that are linear between the points of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.limits.functional_equations.equation import FunctionalEquation

MIN_GRID_POINTS = 3


@final
@dataclass(frozen=True)
class GridMap(Map):
    """Values at the points of a grid to those that the equation gives for them; one step of Picard's iteration.

    Attributes:
        equation: the equation.
        grid: float64 `(N,)`, increasing; every point where `f` is fixed is among its points.
    """

    equation: FunctionalEquation
    grid: Tensor

    def __post_init__(self) -> None:
        grid = self.grid
        is_grid = grid.dim() == 1 and len(grid) >= MIN_GRID_POINTS and grid.is_floating_point()
        if not is_grid or not bool((grid.diff() > 0).all() & grid.isfinite().all()):
            raise ValueError(
                f"grid must be {MIN_GRID_POINTS} or more finite numbers that increase, got {list(grid.shape)} of "
                f"{grid.dtype}; pass torch.linspace(0, 1, 1001, dtype=torch.float64)"
            )
        for point in self.equation.fixed_points:
            if point not in grid:
                raise ValueError(f"f is fixed at {point:g}, which is not a point of the grid; put it among them")

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the grid."""
        return float(self.grid[0]), float(self.grid[-1])

    @cached_property
    def is_fixed(self) -> Tensor:
        """Where values are fixed, bool `(N,)`."""
        return torch.isin(self.grid, self.grid.new_tensor(self.equation.fixed_points))

    @cached_property
    def offsets(self) -> Tensor:
        """The values that the equation gives for `f = 0`, `(N,)`: the source, and what is fixed."""
        offsets = self.equation.measure_source(self.grid).clone()
        for point, value in self.equation.fixed_values.items():
            offsets[self.grid == point] = value
        return offsets

    def guess_values(self) -> Tensor:
        """Return values to begin with, `(N,)`: linear between those that are fixed, and zero where none is."""
        points = self.equation.fixed_points
        if not points:
            return torch.zeros_like(self.grid)
        knots = self.grid.new_tensor(points)
        heights = self.grid.new_tensor([self.equation.fixed_values[point] for point in points])
        if len(points) == 1:
            return heights.expand_as(self.grid).clone()
        cells = (torch.searchsorted(knots, self.grid) - 1).clamp(0, len(points) - 2)
        shares = ((self.grid - knots[cells]) / (knots[cells + 1] - knots[cells])).clamp(0, 1)
        return torch.lerp(heights[cells], heights[cells + 1], shares)

    @cached_property
    def weights(self) -> Tensor:
        """`w_k` on the grid, `(K, N)`; zero where values are fixed."""
        return torch.where(
            self.is_fixed,
            0.0,
            self.equation.measure_weights(self.grid),
        )

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """The cell and the share of its right end of every argument, `(K, N)` each."""
        return self.locate_points(self.equation.measure_arguments(self.grid, self.interval))

    def locate_points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cells of points and the shares of their right ends."""
        cells = (
            torch.searchsorted(
                self.grid,
                x.contiguous(),
                right=True,
            )
            - 1
        ).clamp(0, len(self.grid) - 2)
        left, right = self.grid[cells], self.grid[cells + 1]
        return cells, (x - left) / (right - left)

    def interpolate_values(self, values: Tensor, x: Tensor) -> Tensor:
        """Return values `(N,)` on the grid at other points, linear between those of the grid."""
        cells, shares = self.locate_points(x)
        return values[cells] + shares * (values[cells + 1] - values[cells])

    def evaluate(self, state: Tree) -> Tree:
        return self._sum_terms(self.weights, state) + self.offsets

    def linearise(self, state: Tree) -> Any:
        return lambda direction: self._sum_terms(self.weights, direction)

    def apply_absolute(self, values: Tensor) -> Tensor:
        """Return `|M| v` for values `(N,)`, where the equation is `f = M f + offsets`."""
        return self._sum_terms(self.weights.abs(), values)

    def sum_powers(self) -> Tensor:
        """Return `(1 + |M| + |M|^2 + ...) e` for the vector `e` of ones where values are free; nan where it diverges.

        Raises:
            ImportError: scipy is not installed.
        """
        ones = torch.where(
            self.is_fixed,
            0.0,
            torch.ones_like(self.grid),
        )
        if bool((self.apply_absolute(ones) >= 1)[~self.is_fixed].all()):
            return ones * torch.nan
        try:
            return self.solve_system(self.weights.abs(), ones)
        except ValueError:
            return ones * torch.nan

    def solve_system(self, weights: Tensor, right: Tensor) -> Tensor:
        """Return the solution `(N,)` of `f = M f + right`, where `M` has these weights `(K, N)`.

        Raises:
            ValueError: the system is singular.
            ImportError: scipy is not installed.
        """
        try:
            from scipy.sparse import coo_matrix, identity
            from scipy.sparse.linalg import splu
        except ImportError as error:
            raise ImportError("sparse systems are solved by scipy: pip install 'forerun[limits]'") from error
        cells, shares = self.places
        rows = torch.arange(len(self.grid)).expand_as(cells)
        entries = torch.cat([weights * (1 - shares), weights * shares]).flatten()
        columns = torch.cat([cells, cells + 1]).flatten()
        indices = (torch.cat([rows, rows]).flatten().numpy(), columns.numpy())
        matrix = coo_matrix((entries.numpy(), indices), (len(right), len(right)))
        try:
            factors = splu((identity(len(right), format="csc") - matrix).tocsc())
        except RuntimeError as error:
            raise ValueError(
                "the equation on this grid has no solution, or several: its matrix is singular; fix values of f, such "
                "as fixed_values={0.0: 0.0, 1.0: 1.0}"
            ) from error
        return torch.from_numpy(factors.solve(right.numpy()))

    def _sum_terms(self, weights: Tensor, values: Tensor) -> Tensor:
        cells, shares = self.places
        terms = values[cells] + shares * (values[cells + 1] - values[cells])
        return (weights * terms).sum(0)
