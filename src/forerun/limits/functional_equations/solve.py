"""Solutions of functional equations: as a limit, by one sparse system, and by least squares in a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from forerun.engine.certificates import Banach
from forerun.engine.fixed_point import fixed_point
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.engine.tolerance import Absolute
from forerun.limits.functional_equations.equation import FunctionalEquation, RealFunction
from forerun.limits.functional_equations.existence import (
    ExistenceProof,
    NoContraction,
    bound_error,
    prove_existence,
)
from forerun.limits.functional_equations.grid_operator import GridMap

EQUATION_TOLERANCE = 1e-10


@dataclass(frozen=True)
class FunctionSolution:
    """A function on a grid that solves an equation.

    Attributes:
        grid: `(N,)`.
        values: of the function at its points, `(N,)`; between them it is linear.
        existence: in which norms the equation contracts, and so whether there is one solution.
        bounds: of the distance from the solution of the equation itself, `(N,)`; inf where nothing is shown. Suprema in
            it are taken at four points in every cell.
        operator: the equation on the grid.
        limit: how it was found, where an iteration found it: its error bound is that from the solution on the grid.
    """

    grid: Tensor
    values: Tensor
    existence: ExistenceProof
    bounds: Tensor
    operator: GridMap
    limit: Limit | None = None

    @property
    def value(self) -> Tensor:
        """The values on the grid."""
        return self.values

    @property
    def error_bound(self) -> float:
        """The largest of the bounds."""
        return float(self.bounds.max())

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function at other points of the interval."""
        return self.operator.interpolate_values(self.values, x.to(self.values.dtype))


def solve(
    weights: Sequence[RealFunction],
    arguments: Sequence[RealFunction],
    grid: Tensor,
    *,
    source: RealFunction | None = None,
    fixed_values: Mapping[float, float] | None = None,
    options: LimitOptions | None = None,
    **keywords: Unpack[LimitKeywords],
) -> FunctionSolution:
    """Solve `f(x) = sum_k w_k(x) f(phi_k(x)) + g(x)` as the limit of Picard's iteration, by whatever method.

    The error on the grid is measured relative to the weight of `existence` (`Banach` in that norm), and is proven.

    Args:
        weights: functions `w_k`, elementwise on tensors.
        arguments: functions `phi_k`, which map the interval of the grid to itself.
        grid: float64 `(N,)`, increasing.
        source: `g`; None for zero.
        fixed_values: values of `f` where the equation leaves them free, such as `{0.0: 0.0, 1.0: 1.0}`.
        options: how the limit is searched: `method=Plain()` is Picard's iteration itself.
        keywords: the options one by one.

    Raises:
        NoContraction: nothing shows that there is one solution; the message has the constants.
        ValueError: the grid, or a function on it, cannot be used; the message has the line to type.
        NoLimit: the iteration did not end.
    """
    operator = make_operator(
        weights,
        arguments,
        grid,
        source=source,
        fixed_values=fixed_values,
    )
    existence = prove_existence(operator)
    refuse_equation(existence)
    settings = LimitOptions.gather(options, keywords).over(choose_options(operator, existence))
    limit = fixed_point(
        operator,
        operator.guess_values(),
        options=settings,
    )
    bounds = bound_error(operator, limit.state, existence)
    return FunctionSolution(
        grid,
        limit.state,
        existence,
        bounds,
        operator,
        limit,
    )


def solve_directly(
    weights: Sequence[RealFunction],
    arguments: Sequence[RealFunction],
    grid: Tensor,
    *,
    source: RealFunction | None = None,
    fixed_values: Mapping[float, float] | None = None,
) -> FunctionSolution:
    """Solve the equation on the grid as one sparse linear system, whether or not anything shows that it contracts.

    Args:
        weights: see `solve`.
        arguments: see `solve`.
        grid: see `solve`.
        source: see `solve`.
        fixed_values: see `solve`.

    Raises:
        ValueError: the system is singular, or the grid cannot be used.
        ImportError: scipy is not installed.
    """
    operator = make_operator(
        weights,
        arguments,
        grid,
        source=source,
        fixed_values=fixed_values,
    )
    values = operator.solve_system(operator.weights, operator.offsets)
    existence = prove_existence(operator)
    return FunctionSolution(
        grid,
        values,
        existence,
        bound_error(
            operator,
            values,
            existence,
        ),
        operator,
    )


def fit_family(
    weights: Sequence[RealFunction],
    arguments: Sequence[RealFunction],
    grid: Tensor,
    *,
    family: Sequence[RealFunction],
    base: RealFunction,
    source: RealFunction | None = None,
    fixed_values: Mapping[float, float] | None = None,
) -> tuple[FunctionSolution, Tensor]:
    """Fit `base + sum_j c_j b_j` to the equation: the least squares of its residual on the grid.

    The residual is made small, not the error, so that the fit is not the best of the family; it is cheap and smooth.

    Args:
        weights: see `solve`.
        arguments: see `solve`.
        grid: see `solve`.
        family: functions `b_j` that vanish where `f` is fixed.
        base: a function with the fixed values.
        source: see `solve`.
        fixed_values: see `solve`.

    Returns:
        The fit on the grid, and the coefficients.

    Raises:
        ValueError: a function of the family does not vanish where `f` is fixed, or `base` has other values there.
    """
    operator = make_operator(
        weights,
        arguments,
        grid,
        source=source,
        fixed_values=fixed_values,
    )
    equation = operator.equation
    places = equation.measure_arguments(grid, operator.interval)
    terms = equation.measure_weights(grid)

    def leave_residual(function: RealFunction) -> Tensor:
        return function(grid) - (terms * function(places)).sum(0)

    refuse_family(equation, family, base, grid)
    columns = torch.stack([leave_residual(function) for function in family], 1)
    right = equation.measure_source(grid) - leave_residual(base)
    coefficients = torch.linalg.lstsq(columns, right.unsqueeze(1)).solution.squeeze(1)
    shapes = torch.stack([function(grid) for function in family])
    values = base(grid) + coefficients @ shapes
    existence = prove_existence(operator)
    bounds = bound_error(operator, values, existence)
    fit = FunctionSolution(grid, values, existence, bounds, operator)
    return fit, coefficients


def refuse_family(
    equation: FunctionalEquation,
    family: Sequence[RealFunction],
    base: RealFunction,
    grid: Tensor,
) -> None:
    """Refuse functions whose sums do not keep the fixed values."""
    for point, value in equation.fixed_values.items():
        at_point = grid.new_tensor([point])
        misses = [abs(float(function(at_point))) for function in family]
        misses.append(abs(float(base(at_point)) - value))
        if max(misses) > 1e-9:
            raise ValueError(
                f"f is fixed at {point:g} to {value:g}: base must have that value there, and the family must vanish; "
                "pass base=lambda x: x, family=[lambda x: x * (1 - x)] for f(0) = 0 and f(1) = 1"
            )


def make_operator(
    weights: Sequence[RealFunction],
    arguments: Sequence[RealFunction],
    grid: Tensor,
    *,
    source: RealFunction | None,
    fixed_values: Mapping[float, float] | None,
) -> GridMap:
    """Return the equation on a grid."""
    equation = FunctionalEquation(
        tuple(weights),
        tuple(arguments),
        source,
        dict(fixed_values or {}),
    )
    return GridMap(equation, grid)


def refuse_equation(existence: ExistenceProof) -> None:
    """Refuse an equation that contracts in no norm that was tried."""
    if not existence.holds:
        raise NoContraction(
            f"{existence} Fix values of f where the equation leaves them free, such as fixed_values={{0.0: 0.0, "
            "1.0: 1.0}, or take what solves it on the grid: solve_directly(...)"
        )


def choose_options(operator: GridMap, existence: ExistenceProof) -> LimitOptions:
    """Return what is taken where the caller says nothing: the weighted norm, and a proof in it."""
    weight = torch.where(operator.is_fixed, 1.0, existence.weight)
    tolerance = Absolute(EQUATION_TOLERANCE, size=lambda moves: (moves.abs() / weight).amax(-1))
    certificate = Banach(existence.grid_rate) if existence.grid_rate < 1 else None
    return LimitOptions(tolerance=tolerance, certificate=certificate)
