"""Whether a functional equation has one solution, and how far from it a function on a grid is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import AndersonMixing
from forerun.limits.functional_equations.equation import FunctionalEquation
from forerun.limits.functional_equations.grid_operator import GridMap
from forerun.limits.functional_equations.lipschitz import measure_lipschitz_rates

POINTS_IN_CELL = 4  # at which suprema are taken, the left end among them
STARTING_POWER = 0.5
WEIGHT_EVALUATIONS = 400
WEIGHT_TOLERANCE = 1e-6
FREE_RESIDUAL = 1e-9  # that an equation may leave where f is fixed, by rounding


class NoContraction(ValueError):
    """Raised where no norm was found in which the equation contracts: nothing says that there is one solution."""


@dataclass(frozen=True)
class ExistenceProof:
    """Norms in which an equation contracts. Suprema are taken at points, four in every cell of the grid.

    Attributes:
        lipschitz_rate: contraction constant in the Lipschitz norm; below 1, there is one Lipschitz function that solves
            the equation (Banach).
        rate: contraction constant in the norm `sup |h(x)| / v(x)`, with the weight `v` below; below 1, there is one
            solution among the functions that differ from a first one by a multiple of `v`.
        grid_rate: likewise, of the equation on the grid.
        weight: `v` on the grid, `(N,)`, zero where `f` is fixed and at most 1.
    """

    lipschitz_rate: float
    rate: float
    grid_rate: float
    weight: Tensor

    @property
    def holds(self) -> bool:
        """Whether one of the norms shows that there is one solution."""
        return min(self.lipschitz_rate, self.rate) < 1

    def __str__(self) -> str:
        """Say what is known, in a sentence."""
        if self.lipschitz_rate < 1:
            return f"One Lipschitz function solves it: contraction by {self.lipschitz_rate:.4g} in the Lipschitz norm."
        if self.rate < 1:
            return (
                f"One function solves it among those close to the fixed values: contraction by {self.rate:.4g} in a "
                f"weighted norm; in the Lipschitz norm the constant is {self.lipschitz_rate:.4g}, which shows nothing."
            )
        return (
            f"Nothing shows that one function solves it: the constant is {self.lipschitz_rate:.4g} in the Lipschitz "
            f"norm and {self.rate:.4g} in the best weighted norm that was found."
        )


def prove_existence(operator: GridMap) -> ExistenceProof:
    """Compute the contraction constants of an equation.

    The weight is the eigenvector of `|M|` of the largest eigenvalue, nearly: any positive weight gives a constant, and
    this the smallest (Collatz and Wielandt).
    """
    equation, points = operator.equation, refine_grid(operator.grid)
    rates = measure_lipschitz_rates(
        equation,
        points,
        operator.interval,
    )
    weight = _find_weight(operator)
    is_free = ~operator.is_fixed
    return ExistenceProof(
        lipschitz_rate=float(rates.max()),
        rate=_measure_rate(operator, weight, points),
        grid_rate=float((operator.apply_absolute(weight)[is_free] / weight[is_free]).max()),
        weight=weight,
    )


def bound_error(
    operator: GridMap,
    values: Tensor,
    proof: ExistenceProof,
) -> Tensor:
    """Return bounds `(N,)` of the distance of values on a grid, linear between its points, from the solution.

    `|f - f*| <= v sup(|T f - f| / v) / (1 - rate)`, with the supremum taken at four points in every cell; inf where the
    weighted norm shows nothing, or the equation does not hold where `f` is fixed.
    """
    points = refine_grid(operator.grid)
    residuals = measure_residuals(operator, values, points)
    weights = interpolate_weight(operator, proof.weight, points)
    is_free = ~torch.isin(points, operator.grid[operator.is_fixed])
    scale = 1 + float(values.abs().max())
    if not proof.rate < 1 or bool((residuals[~is_free].abs() > FREE_RESIDUAL * scale).any()):
        return torch.full_like(values, torch.inf)
    largest = (residuals.abs()[is_free] / weights[is_free]).max()
    return proof.weight * largest / (1 - proof.rate)


def measure_residuals(
    operator: GridMap,
    values: Tensor,
    points: Tensor,
) -> Tensor:
    """Return `T f - f` at points, for values on the grid, linear between its points."""
    equation = operator.equation
    places = equation.measure_arguments(points, operator.interval)
    terms = equation.measure_weights(points) * operator.interpolate_values(values, places)
    return terms.sum(0) + equation.measure_source(points) - operator.interpolate_values(values, points)


def interpolate_weight(
    operator: GridMap,
    weight: Tensor,
    points: Tensor,
) -> Tensor:
    """Return a weight `(N,)` at other points: a root of the distance, times a factor that is linear in every cell.

    A weight that is linear itself falls to zero too fast at the fixed points, and shows less.
    """
    roots = operator.equation.measure_distance(operator.grid, STARTING_POWER)
    factors = torch.where(
        operator.is_fixed,
        0.0,
        weight
        / torch.where(
            operator.is_fixed,
            1.0,
            roots,
        ),
    )
    neighbours = torch.nn.functional.pad(factors, (1, 1))
    nearest = torch.maximum(neighbours[:-2], neighbours[2:])
    factors = torch.where(operator.is_fixed, nearest, factors)
    return operator.interpolate_values(factors, points) * operator.equation.measure_distance(points, STARTING_POWER)


def refine_grid(grid: Tensor) -> Tensor:
    """Return the points of a grid and three between each two."""
    shares = torch.arange(POINTS_IN_CELL, dtype=grid.dtype) / POINTS_IN_CELL
    inside = grid[:-1, None] + shares * grid.diff()[:, None]
    return torch.cat([inside.flatten(), grid[-1:]])


def _find_weight(operator: GridMap) -> Tensor:
    """Return a weight `(N,)`, positive where values are free, that `|M|` shrinks by as much as can be."""
    first = _start_weight(operator.equation, operator.grid)
    if not bool((operator.apply_absolute(first) > 0).any()):
        return first

    def evaluate(weight: Tensor) -> Tensor:
        image = operator.apply_absolute(weight) + weight  # the same eigenvectors, and no eigenvalue of opposite sign
        return image / image.abs().max()

    limit = fixed_point(
        evaluate,
        first,
        method=AndersonMixing(5),
        tolerance=WEIGHT_TOLERANCE,
        max_evaluations=WEIGHT_EVALUATIONS,
        throw=False,
    )
    points = refine_grid(operator.grid)
    candidates = [first]
    for weight in (limit.state, operator.sum_powers()):
        is_positive = bool((weight[~operator.is_fixed] > 0).all() & weight.isfinite().all())
        if is_positive:
            candidates.append(weight / weight.max())
    return min(
        candidates,
        key=lambda weight: _measure_rate(
            operator,
            weight,
            points,
        ),
    )


def _start_weight(equation: FunctionalEquation, grid: Tensor) -> Tensor:
    weight = equation.measure_distance(grid, STARTING_POWER)
    return weight / weight.max()


def _measure_rate(
    operator: GridMap,
    weight: Tensor,
    points: Tensor,
) -> float:
    """Return the largest `(|T| v)(x) / v(x)` at points where `f` is free."""
    equation = operator.equation
    free_points = points[~torch.isin(points, operator.grid[operator.is_fixed])]
    places = equation.measure_arguments(free_points, operator.interval)
    terms = equation.measure_weights(free_points).abs() * interpolate_weight(
        operator,
        weight,
        places,
    )
    return float(
        (
            terms.sum(0)
            / interpolate_weight(
                operator,
                weight,
                free_points,
            )
        ).max()
    )
