"""Programs: verdicts against HiGHS, proofs in exact arithmetic, and what must be refused."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from forerun.engine.testing import check_map
from forerun.limits import Averaged, Halpern, NoLimit, Plain
from forerun.limits.infeasibility import (
    DouglasRachford,
    PrimalDual,
    ProgramKind,
    ShiftedRotation,
    Verdict,
    draw_program,
    gather_linprog,
    measure_errors,
    measure_slope,
    prepare_program,
    prove_dual_ray,
    prove_primal_ray,
    solve_lp,
    solve_program,
    solve_qp,
    trace_displacement,
)
from forerun.limits.infeasibility.program import scale_program
from forerun.studies.limits import _program_rivals as rivals

SPLITTINGS = [DouglasRachford, PrimalDual]
KINDS = list(ProgramKind)
ENDS = {
    ProgramKind.SOLVABLE: {Verdict.SOLVED},
    ProgramKind.DEGENERATE: {Verdict.SOLVED},
    ProgramKind.PRIMAL_INFEASIBLE: {Verdict.PRIMAL_INFEASIBLE},
    ProgramKind.DUAL_INFEASIBLE: {Verdict.DUAL_INFEASIBLE},
    ProgramKind.BOTH_INFEASIBLE: {Verdict.PRIMAL_INFEASIBLE, Verdict.DUAL_INFEASIBLE},
}


def exact_product(matrix, vector):
    """A sparse matrix times a vector, in fractions."""
    sums = [Fraction(0)] * matrix.shape[0]
    entries = sparse.coo_array(matrix)
    for row, column, value in zip(*entries.coords, entries.data, strict=True):
        sums[row] += Fraction(float(value)) * Fraction(float(vector[column]))
    return sums


def exact_primal_radius(program, y):
    """Below which size nothing is feasible, by Farkas in fractions: written anew, not by the library."""
    total, illegal = Fraction(0), Fraction(0)
    multipliers = [
        (Fraction(float(entry)), low, high)
        for entry, low, high in zip(y, program.row_lower, program.row_upper, strict=True)
    ]
    reduced = zip((-entry for entry in exact_product(program.matrix.T, y)), program.lower, program.upper, strict=True)
    for entry, low, high in [*multipliers, *reduced]:
        limit = high if entry > 0 else low
        if np.isfinite(limit):
            total += entry * Fraction(float(limit))
        else:
            illegal += abs(entry)
    assert total < 0
    return float(-total / illegal) if illegal else float("inf")


def exact_dual_radius(program, direction):
    """Below which size no multipliers are feasible, in fractions."""
    descent = sum(Fraction(float(c)) * Fraction(float(d)) for c, d in zip(program.cost, direction, strict=True))
    assert descent < 0
    illegal = sum(map(abs, exact_product(program.quadratic, direction)), Fraction(0))
    activity = exact_product(program.matrix, direction)
    moves = [*zip(activity, program.row_lower, program.row_upper, strict=True)]
    for entry, low, high in [
        *moves,
        *zip(map(Fraction, map(float, direction)), program.lower, program.upper, strict=True),
    ]:
        if (entry > 0 and np.isfinite(high)) or (entry < 0 and np.isfinite(low)):
            illegal += abs(entry)
    return float(-descent / illegal) if illegal else float("inf")


@pytest.mark.parametrize("is_quadratic", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_right_and_their_proofs_hold_in_exact_arithmetic(kind, is_quadratic):
    program = draw_program(kind, 11, variables=16, is_quadratic=is_quadratic)
    result = solve_program(program)
    assert result.verdict in ENDS[kind]
    assert result.advice == result.verdict.value
    if result.verdict is Verdict.SOLVED:
        assert measure_errors(program, result.x, result.y).largest <= 1e-6
    if result.verdict is Verdict.PRIMAL_INFEASIBLE:
        assert exact_primal_radius(program, result.primal_proof.vector) >= result.primal_proof.radius >= 1e9
    if result.verdict is Verdict.DUAL_INFEASIBLE:
        assert exact_dual_radius(program, result.dual_proof.vector) >= result.dual_proof.radius >= 1e9


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_optima_are_those_of_highs(splitting):
    program = draw_program(ProgramKind.DEGENERATE, 3, variables=20)
    result = solve_program(program, splitting=splitting)
    constraint = LinearConstraint(program.matrix, program.row_lower, program.row_upper)
    best = milp(program.cost, constraints=constraint, bounds=Bounds(program.lower, program.upper))
    assert result.objective == pytest.approx(best.fun, rel=1e-5, abs=1e-5)
    assert result.value is result.x


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("is_quadratic", [False, True])
def test_splittings_are_maps_and_nonexpansive_where_they_say_so(splitting, is_quadratic):
    program = draw_program(ProgramKind.SOLVABLE, 2, variables=8, is_quadratic=is_quadratic)
    splitting_map = splitting(scale_program(program), 0.7)
    first = splitting_map.begin_state(np.ones(8), np.ones(program.rows), np.zeros(8))
    check_map(splitting_map, first)
    result = solve_program(program, splitting=splitting, tolerance=1e-9)
    scaled = scale_program(program)
    multipliers = result.y * scaled.objective / scaled.rows
    reduced = -(scaled.program.quadratic @ (result.x / scaled.columns) + scaled.program.cost)
    reduced -= scaled.program.matrix.T @ multipliers
    optimum = splitting_map.begin_state(result.x / scaled.columns, multipliers, reduced)
    torch.testing.assert_close(splitting_map.evaluate(optimum), optimum, rtol=0, atol=1e-6)


def test_a_program_for_linprog_is_taken_as_it_is():
    generator = np.random.default_rng(0)
    A_ub, b_ub = generator.standard_normal((4, 6)), np.ones(4)
    A_eq, b_eq = np.ones((1, 6)), [2.0]
    bounds = [(0, None), (None, 3), (-1, 1), (0, 5), (0, None), (0, 2)]
    c = generator.standard_normal(6) + 1
    ours = solve_lp(**gather_linprog(c, A_ub=A_ub, b_ub=b_ub, A_eq=A_eq, b_eq=b_eq, bounds=bounds))
    theirs = linprog(c, A_ub, b_ub, A_eq, b_eq, bounds)
    assert theirs.status == {Verdict.SOLVED: 0, Verdict.DUAL_INFEASIBLE: 3}[ours.verdict]
    assert ours.verdict is Verdict.DUAL_INFEASIBLE or ours.objective == pytest.approx(theirs.fun, rel=1e-5)
    default = solve_lp(**gather_linprog([1.0, 2.0], A_eq=[[1, 1]], b_eq=[1]))
    np.testing.assert_allclose(default.value, [1, 0], atol=1e-6)


def test_small_programs_by_hand():
    assert solve_lp([1.0], lower=2.0).value == pytest.approx([2.0])
    assert solve_lp([-1.0], lower=2.0).verdict is Verdict.DUAL_INFEASIBLE
    assert solve_lp([0.0], lower=-1.0, upper=1.0).verdict is Verdict.SOLVED
    contradiction = solve_lp([0.0], [[1.0], [1.0]], row_lower=[1.0, 2.0], row_upper=[1.0, 2.0])
    assert contradiction.verdict is Verdict.PRIMAL_INFEASIBLE
    assert contradiction.primal_proof.radius > 1e9
    assert solve_qp([[2.0]], [-2.0]).value == pytest.approx([1.0])
    assert solve_qp([[0.0, 0.0], [0.0, 1.0]], [1.0, 0.0]).verdict is Verdict.DUAL_INFEASIBLE
    empty_row = solve_lp([1.0], sparse.csr_array((1, 1)), row_lower=[1.0], row_upper=[2.0], lower=0.0)
    assert empty_row.verdict is Verdict.PRIMAL_INFEASIBLE


def test_a_nearly_infeasible_program_is_not_called_infeasible():
    """x + y >= 1, x <= t, y <= 1 - t + gap: feasible by a hair, then not."""
    rows = np.array([[1.0, 1.0]])
    feasible = solve_lp([1.0, 1.0], rows, row_lower=[1.0], lower=0.0, upper=[0.5, 0.5 + 1e-7])
    assert feasible.verdict is Verdict.SOLVED
    infeasible = solve_lp([1.0, 1.0], rows, row_lower=[1.0], lower=0.0, upper=[0.5, 0.5 - 1e-3])
    assert infeasible.verdict is Verdict.PRIMAL_INFEASIBLE


def test_badly_scaled_programs():
    program = draw_program(ProgramKind.SOLVABLE, 5, variables=8)
    plain = solve_program(program)
    columns = np.logspace(-2, 2, 8)
    stretched = solve_lp(
        program.cost * columns,
        program.matrix @ sparse.diags_array(columns),
        row_lower=program.row_lower,
        row_upper=program.row_upper,
        lower=0.0,
    )
    assert stretched.objective == pytest.approx(plain.objective, rel=1e-4)


def test_rays_that_prove_nothing_say_so():
    program = prepare_program([1.0, 1.0], [[1.0, 1.0]], row_lower=[1.0], row_upper=[2.0], lower=0.0)
    assert prove_primal_ray(program, np.array([1.0])).radius == 0
    assert prove_primal_ray(program, np.array([np.nan])).radius == 0
    assert prove_dual_ray(program, np.array([-1.0, -1.0])).radius == 0
    # nearly a ray: without a feasible point of a size below 1e3, and no more is claimed
    tilted = prepare_program([0.0], [[1e-3]], row_lower=[1.0], row_upper=[1.0], lower=0.0)
    proof = prove_primal_ray(tilted, np.array([-1.0]))
    assert 999 < proof.radius < 1001
    assert solve_lp([0.0], [[1e-3]], row_lower=[1.0], row_upper=[1.0], lower=0.0).value == pytest.approx([1000.0])


def test_undecided_is_an_error_with_the_point_and_can_go_on():
    program = draw_program(ProgramKind.SOLVABLE, 0, variables=20)
    with pytest.raises(NoLimit, match="max_evaluations") as error:
        solve_program(program, max_evaluations=15)
    limit = error.value.limit
    assert limit.verdict is Verdict.UNDECIDED
    with pytest.raises(ValueError, match="no optimal point"):
        _ = limit.value
    full = solve_program(program)
    warm = solve_program(program, x0=full.x, y0=full.y)
    assert warm.evaluations < full.evaluations
    assert "evaluations" in str(full)
    stopped = solve_program(program, callback=lambda event: event.evaluations == 5)
    assert stopped.evaluations == 5


def test_anchors_pay():
    program = draw_program(ProgramKind.SOLVABLE, 0, variables=16)
    anchored = solve_program(program, splitting=PrimalDual)
    averaged = solve_program(program, splitting=PrimalDual, method=Averaged(0.5), throw=False, max_evaluations=6000)
    assert anchored.evaluations < averaged.evaluations


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"cost": []}, "one number for each variable"),
        ({"cost": [1.0, np.nan]}, "not finite"),
        ({"cost": [1.0], "matrix": np.ones((2, 2))}, "one column for each"),
        ({"cost": [1.0], "matrix": [[np.inf]], "row_lower": [0.0]}, "not finite"),
        ({"cost": [1.0], "matrix": [[1.0]], "row_lower": [0.0, 1.0]}, "one number for each of 1"),
        ({"cost": [1.0], "matrix": [[1.0]], "row_lower": [2.0], "row_upper": [1.0]}, "row 0 must lie between"),
        ({"cost": [1.0], "lower": 1.0, "upper": 0.0}, "variable 0 must lie between"),
        ({"cost": [1.0], "lower": np.inf}, "variable 0 must lie between"),
        ({"cost": [1.0], "upper": np.nan}, "variable 0 must lie between"),
        ({"cost": [1.0], "x0": [1.0, 2.0]}, "x0 has the shape"),
    ],
)
def test_programs_that_are_none_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        solve_lp(**arguments)


@pytest.mark.parametrize(
    "quadratic, says",
    [
        ([[1.0, 2.0], [0.0, 1.0]], "not symmetric"),
        ([[1.0, 0.0], [0.0, -1.0]], "not convex"),
        ([[1.0, 0.0]], "must be square"),
        (-sparse.eye_array(300, format="csr"), "one column"),
    ],
)
def test_quadratics_that_are_not_convex_are_refused(quadratic, says):
    with pytest.raises(ValueError, match=says):
        solve_qp(quadratic, [1.0, 1.0])


def test_a_large_quadratic_is_checked_too():
    quadratic = sparse.diags_array(np.append(np.ones(299), -1e-3), format="csr")
    with pytest.raises(ValueError, match="not convex"):
        solve_qp(quadratic, np.ones(300))


def test_tensors_are_taken():
    cost, matrix = torch.tensor([1.0, 2.0]), torch.ones(1, 2, requires_grad=True)
    assert solve_lp(cost, matrix, row_lower=[1.0], lower=0.0).value == pytest.approx([1.0, 0.0])


def test_displacements_settle_as_the_theory_says():
    rotation = ShiftedRotation.draw(60, 0)
    start = torch.ones(60, 2, dtype=torch.float64)
    check_map(rotation, start)
    plain = trace_displacement(rotation, start, Plain(), 150, displacement=rotation.shift)
    anchored = trace_displacement(rotation, start, Halpern(restart=0), 150, displacement=rotation.shift)
    assert -2.2 < measure_slope(anchored[:, 0], 15) < -1.8
    assert -1.8 < measure_slope(plain[:, 0], 15) < -0.8
    assert measure_slope(plain[:, 1], 15) < -1.8
    assert measure_slope(anchored[:, 1], 15) < -1.8


@pytest.mark.parametrize("kind", KINDS)
def test_osqp_and_scs_say_the_same(kind):
    program = draw_program(kind, 4, variables=12, is_quadratic=True)
    right = rivals.list_right_verdicts(program)
    assert right <= ENDS[kind]
    assert solve_program(program).verdict in right
    assert rivals.ask_scs(program).verdict in right
    assert rivals.ask_osqp(program).verdict in right
