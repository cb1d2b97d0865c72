"""Functional equations: solved by every method alike, bounds above the error, and what has no solution is refused."""

import numpy
import pytest
import torch
from scipy.optimize import linprog

from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, LimitStatus, NewtonKrylov, Plain
from forerun.limits.functional_equations import (
    FunctionalEquation,
    GridMap,
    NoContraction,
    fit_family,
    measure_lipschitz_rates,
    solve,
    solve_directly,
)
from forerun.limits.functional_equations.existence import measure_residuals, refine_grid
from forerun.limits.functional_equations.lipschitz import price_transport

DOUBLE = torch.float64
ENDS = {0.0: 0.0, 1.0: 1.0}


def line(points=201, low=0.0, high=1.0):
    return torch.linspace(low, high, points, dtype=DOUBLE)


def fish(alpha, beta):
    """The choices of the paradise fish (Turab and Sintunavarat): f(x) = x f(a x + 1 - a) + (1 - x) f(b x)."""
    return [lambda x: x, lambda x: 1 - x], [lambda x: alpha * x + 1 - alpha, lambda x: beta * x]


def find_truth(equation, grid, *, points=8193):
    """The solution on a far finer grid, at the points of another."""
    operator = GridMap(equation, torch.linspace(float(grid[0]), float(grid[-1]), points, dtype=DOUBLE))
    return operator.interpolate_values(operator.solve_system(operator.weights, operator.offsets), grid)


@pytest.mark.parametrize("method", [Plain(), AndersonMixing(6), NewtonKrylov(), None])
@pytest.mark.parametrize("alpha, beta", [(0.3, 0.4), (0.7, 0.8), (0.2, 0.9)])
def test_every_method_finds_the_solution_of_the_sparse_system(method, alpha, beta):
    direct = solve_directly(*fish(alpha, beta), line(), fixed_values=ENDS)
    found = solve(*fish(alpha, beta), line(), fixed_values=ENDS, **({"method": method} if method else {}))
    distance = float((found.values - direct.values).abs().max())
    assert found.limit.status is LimitStatus.CERTIFIED
    assert distance <= max(found.limit.largest_error_bound, 1e-14) < 1e-9
    assert found.values[[0, -1]].tolist() == [0, 1]
    check_map(found.operator, found.values)


@pytest.mark.parametrize("alpha, beta", [(0.3, 0.4), (0.7, 0.8), (0.55, 0.05), (0.9, 0.5)])
def test_the_bound_is_above_the_error_whatever_the_grid_and_the_function(alpha, beta):
    truth = find_truth(FunctionalEquation(*fish(alpha, beta), fixed_values=ENDS), line(129))
    for points in (33, 129):
        solution = solve_directly(*fish(alpha, beta), line(points), fixed_values=ENDS)
        errors = (solution.values - truth[:: 128 // (points - 1)]).abs()
        assert bool((errors <= solution.bounds + 1e-12).all())
        assert solution.error_bound < 1
    fit, _ = fit_family(
        *fish(alpha, beta), line(129), base=lambda x: x, family=[lambda x: x * (1 - x)], fixed_values=ENDS
    )
    assert float((fit.values - truth).abs().max()) <= fit.error_bound


def test_equal_arguments_are_solved_by_the_identity_at_once():
    solution = solve(*fish(0.6, 0.6), line(), fixed_values=ENDS, method=Plain())
    assert torch.allclose(solution.values, line())
    assert solution(torch.tensor([0.123], dtype=DOUBLE)).item() == pytest.approx(0.123)


def test_the_lipschitz_constant_decides_where_it_can():
    for alpha, beta, rate in ((0.3, 0.4, 0.7), (0.7, 0.8, 1.1), (0.5, 0.5, 1.0)):
        existence = solve_directly(*fish(alpha, beta), line(), fixed_values=ENDS).existence
        assert existence.lipschitz_rate == pytest.approx(rate)
        assert ("Lipschitz function solves it" in str(existence)) == (rate < 1)
        assert existence.holds


@pytest.mark.parametrize("fixed_points", [[], [0.0], [1.0], [0.0, 1.0], [0.25, 0.75], [0.5]])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_price_of_transport_is_that_of_a_linear_program(fixed_points, count):
    generator = torch.Generator().manual_seed(count)
    masses = torch.randn(count, 1, generator=generator, dtype=DOUBLE)
    places = torch.rand(count, 1, generator=generator, dtype=DOUBLE)
    if not fixed_points:
        masses -= masses.mean(0)
    points = sorted({*places[:, 0].tolist(), *fixed_points})
    cost = numpy.zeros(len(points))
    for mass, place in zip(masses[:, 0].tolist(), places[:, 0].tolist(), strict=True):
        cost[points.index(place)] -= mass
    slopes = numpy.eye(len(points))[1:] - numpy.eye(len(points))[:-1]
    lengths = numpy.diff(points)
    bounds = [(0, 0) if point in (fixed_points or points[:1]) else (None, None) for point in points]
    program = linprog(
        cost, A_ub=numpy.concatenate([slopes, -slopes]), b_ub=numpy.concatenate([lengths, lengths]), bounds=bounds
    )
    assert price_transport(masses, places, fixed_points).item() == pytest.approx(-program.fun, abs=1e-9)


def test_no_function_exceeds_the_lipschitz_constant():
    equation = FunctionalEquation(*fish(0.7, 0.2), fixed_values={0.0: 0.0, 1.0: 0.0})
    operator = GridMap(equation, line(2001))
    rate = float(measure_lipschitz_rates(equation, operator.grid, (0.0, 1.0)).max())
    for seed in range(5):
        slopes = torch.randn(10, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).sign()
        values = torch.nn.functional.pad(slopes.repeat_interleave(200) / 2000, (1, 0)).cumsum(0)
        values = values - values[-1] * operator.grid
        image = operator.evaluate(values)
        assert float(image.diff().abs().max()) <= rate * float(values.diff().abs().max()) * (1 + 1e-9)


def test_a_source_and_other_intervals_need_no_fixed_values():
    # f(x) = cos(x) - cos(x / 2) / 2 + f(x / 2) / 2 is solved by the cosine
    grid = line(401, -3.0, 2.0)
    solution = solve([lambda x: 0.5], [lambda x: x / 2], grid, source=lambda x: torch.cos(x) - torch.cos(x / 2) / 2)
    error = float((solution.values - torch.cos(grid)).abs().max())
    assert error <= solution.error_bound < 1e-3
    assert solution.existence.lipschitz_rate == pytest.approx(0.25)


def test_bold_play_has_its_known_chances_though_its_weights_jump():
    def is_below(x):
        return (x < 0.5).to(x.dtype)

    solution = solve(
        [lambda x: 0.4 * is_below(x), lambda x: 0.6 * (1 - is_below(x))],
        [lambda x: (2 * x).clamp(0, 1), lambda x: (2 * x - 1).clamp(0, 1)],
        line(129),
        source=lambda x: 0.4 * (1 - is_below(x)),
        fixed_values=ENDS,
    )
    assert solution.values[[16, 32, 64, 96]].tolist() == pytest.approx([0.064, 0.16, 0.4, 0.64], abs=1e-9)
    assert "weighted norm" in str(solution.existence)


def test_weights_of_both_signs_and_three_terms():
    weights = [lambda x: 0.3 * torch.sin(3 * x), lambda x: -0.2 + 0 * x, lambda x: 0.4 * x]
    arguments = [lambda x: x**2, lambda x: 1 - x, lambda x: x.sqrt()]
    solution = solve(weights, arguments, line(301), source=torch.exp)
    assert solution.limit.status is LimitStatus.CERTIFIED
    truth = find_truth(FunctionalEquation(weights, arguments, torch.exp), line(301))
    assert bool(((solution.values - truth).abs() <= solution.bounds).all())
    residuals = measure_residuals(solution.operator, solution.values, solution.grid)
    assert float(residuals.abs().max()) < 1e-9


def test_a_smooth_family_fits_to_its_last_digits():
    family = [lambda x, degree=degree: x * (1 - x) * x**degree for degree in range(6)]
    truth = find_truth(FunctionalEquation(*fish(0.3, 0.4), fixed_values=ENDS), line(257))
    misses = []
    for count in (1, 3, 6):
        fit, coefficients = fit_family(
            *fish(0.3, 0.4), line(257), base=lambda x: x, family=family[:count], fixed_values=ENDS
        )
        assert coefficients.shape == (count,)
        misses.append(float((fit.values - truth).abs().max()))
    assert misses[0] > 10 * misses[1] > 10 * misses[2]
    with pytest.raises(ValueError, match="base must have that value"):
        fit_family(*fish(0.3, 0.4), line(), base=lambda x: x, family=[torch.exp], fixed_values=ENDS)


def test_an_equation_that_does_not_hold_where_f_is_fixed_has_no_bound():
    solution = solve_directly([lambda x: 0.5], [lambda x: x / 2], line(), fixed_values={1.0: 1.0})
    assert solution.error_bound == float("inf")


@pytest.mark.parametrize(
    "weights, arguments, says",
    [
        (*fish(0.3, 0.4), "Fix values of f"),
        ([lambda x: 1.5], [lambda x: x], "Nothing shows"),
    ],
)
def test_what_contracts_in_no_norm_is_refused(weights, arguments, says):
    with pytest.raises(NoContraction, match=says):
        solve(weights, arguments, line())


def test_bad_equations_get_the_line_to_type():
    with pytest.raises(ValueError, match="one of each for a term"):
        solve([lambda x: x], [], line())
    with pytest.raises(ValueError, match="outside of the grid from 0 to 1"):
        solve([lambda x: 0.5], [lambda x: x + 0.5], line())
    with pytest.raises(ValueError, match="weights are not finite at x = 0"):
        solve([lambda x: 1 / x], [lambda x: x / 2], line())
    with pytest.raises(ValueError, match="not a point of the grid"):
        solve(*fish(0.3, 0.4), line(), fixed_values={0.0: 0.0, 0.333: 1.0})
    with pytest.raises(ValueError, match="numbers that increase"):
        solve(*fish(0.3, 0.4), line().flip(0), fixed_values=ENDS)
    with pytest.raises(ValueError, match="singular"):
        solve_directly([lambda x: 1.0], [lambda x: x], line())


def test_a_refined_grid_has_the_points_of_the_grid():
    assert refine_grid(line(3)).tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]
