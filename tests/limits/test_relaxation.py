"""Relaxation learnt over a stream: solvers against scipy, learners against known tables, and bad input."""

import numpy as np
import pytest
import scipy.sparse as sparse
import torch

from forerun import fixed_point
from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing
from forerun.limits.relaxation import (
    ChebyshevBandit,
    FixedSetting,
    HeatStream,
    PricedChoice,
    Relaxed,
    SettingStream,
    Sor,
    SorMap,
    SsorCg,
    TsallisInf,
    build_laplacian,
    count_sor_sweeps,
    draw_shifts,
    normalise_chances,
    replay_costs,
)

MATRIX = build_laplacian(6)
RIGHT = np.random.default_rng(0).standard_normal(36)
EXACT = sparse.linalg.spsolve(MATRIX.tocsc(), RIGHT)


@pytest.mark.parametrize("omega", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("solver", [Sor(1e-10), SsorCg(1e-10)])
def test_solvers_solve(solver, omega):
    solution = solver.solve_system(MATRIX, RIGHT, omega)
    assert solution.converged
    np.testing.assert_allclose(solution.x, EXACT, rtol=1e-7, atol=1e-8)
    assert solution.residual < 1e-9


def test_sweeps_are_those_of_the_textbook_and_counted_together_as_one_by_one():
    x = np.zeros(36)
    dense = MATRIX.toarray()
    for row in range(36):
        x[row] += 1.3 * (RIGHT[row] - dense[row] @ x) / dense[row, row]
    swept = SorMap(MATRIX, RIGHT, 1.3).evaluate(torch.zeros(36, dtype=torch.float64))
    np.testing.assert_allclose(swept.numpy(), x, atol=1e-12)
    shifts, rights = np.array([-0.1, 0.0, 0.3]), np.stack([RIGHT, 2 * RIGHT, RIGHT[::-1]])
    together = count_sor_sweeps(MATRIX, shifts, rights, omega=1.4, tolerance=1e-8, max_sweeps=500)
    systems = [sparse.csr_array(MATRIX + shift * sparse.eye_array(36)) for shift in shifts]
    alone = [Sor().solve_system(system, right, 1.4).iterations for system, right in zip(systems, rights, strict=True)]
    assert together.tolist() == alone


def test_the_sweep_is_a_map_that_mixing_speeds_up():
    sweep = SorMap(MATRIX, RIGHT, 1.0)
    first = torch.zeros(36, dtype=torch.float64)
    check_map(sweep, first)
    limit = fixed_point(sweep, first, method=AndersonMixing(10), tolerance=1e-9)
    np.testing.assert_allclose(limit.value.numpy(), EXACT, atol=1e-7)
    assert limit.evaluations < Sor().solve_system(MATRIX, RIGHT, 1.0).iterations


@pytest.mark.parametrize("rate", [2.0, 0.3, 1e-3])
def test_chances_sum_to_one_and_prefer_small_losses(rate):
    chances = normalise_chances(np.array([3.0, 1.0, 50.0, 1e4]), rate)
    assert chances.sum() == pytest.approx(1)
    assert (chances > 0).all()
    assert chances.argsort().tolist() == [3, 2, 0, 1]


def table_of_costs(count, seed=0):
    """Four settings: the third is the best but for large contexts, where the last is."""
    generator = np.random.default_rng(seed)
    contexts = generator.uniform(-1, 1, count)
    means = np.stack([80 + 0 * contexts, 60 + 20 * contexts, 35 + 25 * contexts, 55 - 30 * contexts], 1)
    return contexts, means + generator.uniform(-5, 5, means.shape)


def test_learners_come_near_the_best_setting_and_the_best_of_each_context():
    contexts, costs = table_of_costs(1500)
    best_fixed, best_each = costs.sum(0).min(), costs.min(1).sum()
    tsallis = replay_costs(TsallisInf(), costs)
    assert tsallis.total_cost < 1.15 * best_fixed
    bandit = replay_costs(ChebyshevBandit(-1, 1, degree=3), costs, contexts=contexts)
    assert bandit.total_cost < 0.95 * best_fixed
    assert bandit.total_cost < 1.15 * best_each
    fixed = replay_costs(FixedSetting(0), costs)
    assert fixed.total_cost == pytest.approx(costs[:, 0].sum())


def test_costs_in_any_unit_and_streams_repeat():
    _, costs = table_of_costs(300)
    plain, again, scaled = (replay_costs(TsallisInf(), table, seed=3) for table in (costs, costs, costs))
    assert [choice.setting for choice in plain.choices] == [choice.setting for choice in again.choices]
    assert len(scaled.choices) == 300
    milli = replay_costs(TsallisInf(), 1e3 * costs, seed=3).total_cost
    assert milli < 1.3e3 * costs.sum(0).min()


def test_a_stream_of_systems_is_solved_and_learnt():
    relaxed = Relaxed(Sor(), seed=1)
    shifts = draw_shifts(120, (2, 6), 0)
    for shift in shifts:
        system = sparse.csr_array(MATRIX + shift * sparse.eye_array(36))
        solution = relaxed.solve(system, RIGHT)
        np.testing.assert_allclose(system @ solution.x, RIGHT, atol=1e-6)
    assert len(relaxed.omegas) == 120
    assert relaxed.stream.total_cost == sum(choice.cost for choice in relaxed.stream.choices)
    late = relaxed.omegas[60:]
    assert np.mean([omega >= 1.4 for omega in late]) > 0.5


def test_heat_moves_its_coefficient_and_is_solved_with_a_context():
    heat = HeatStream(6, 30, period=20)
    relaxed = Relaxed(SsorCg(), omegas=(1.0, 1.5), learner=ChebyshevBandit(0.05, 1.05, degree=2))
    for matrix, right, coefficient in heat:
        solution = relaxed.solve(matrix, right, context=coefficient)
        np.testing.assert_allclose(matrix @ solution.x, right, atol=1e-5)
    contexts = [choice.context for choice in relaxed.stream.choices]
    assert min(contexts) < 0.1 < 1.0 < max(contexts)


def test_any_setting_with_a_price_can_be_learnt():
    stream = SettingStream(("slow", "quick"), TsallisInf(), seed=0)
    for _ in range(200):
        stream.learn_cost({"slow": 30.0, "quick": 10.0}[stream.choose_setting()])
    assert stream.weigh_settings()[1] > 0.8
    with pytest.raises(ValueError, match="nothing was chosen"):
        stream.learn_cost(1.0)
    stream.choose_setting()
    with pytest.raises(ValueError, match="finite"):
        stream.learn_cost(float("nan"))


@pytest.mark.parametrize(
    "matrix, right, says",
    [
        (np.eye(2), np.ones(3), "no system"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2), "not symmetric"),
        (np.array([[1.0, 0.0], [0.0, -1.0]]), np.ones(2), "diagonal is -1 in row 1"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), np.ones(2), "not finite"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2), "not be positive definite"),
    ],
)
def test_systems_that_sweeps_do_not_solve_are_refused(matrix, right, says):
    relaxed = Relaxed(Sor(max_iterations=200))
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=says):
        relaxed.solve(matrix, right)
    assert not relaxed.stream.choices


def test_a_right_side_of_zero_is_solved_by_zero():
    assert Relaxed().solve(MATRIX, np.zeros(36)).x.tolist() == [0.0] * 36


@pytest.mark.parametrize(
    "build, error, says",
    [
        (lambda: Relaxed(omegas=(1.0, 2.0)), ValueError, "between 0 and 2"),
        (lambda: Relaxed(solver=1.5), TypeError, "RelaxedSolver"),
        (lambda: Relaxed(learner="tsallis"), TypeError, "TsallisInf"),
        (lambda: SettingStream(()), ValueError, "no settings"),
        (lambda: TsallisInf(0.0), ValueError, "positive"),
        (lambda: ChebyshevBandit(1.0, 0.0), ValueError, "low < high"),
        (lambda: ChebyshevBandit(0.0, 1.0, greed=0.0), ValueError, "positive"),
        (lambda: replay_costs(FixedSetting(7), np.ones((2, 3))), ValueError, "one of 3"),
        (lambda: replay_costs(ChebyshevBandit(0.0, 1.0), np.ones((2, 3))), ValueError, "context"),
    ],
)
def test_bad_settings_are_refused(build, error, says):
    with pytest.raises(error, match=says):
        build()


def test_a_bandit_keeps_its_box():
    bandit = ChebyshevBandit(0.0, 1.0, degree=4, bound=0.5)
    memory = bandit.begin_memory(2)
    for context, cost in ((0.0, 1.0), (0.01, 100.0), (1.0, 3.0)):
        memory = bandit.learn_cost(memory, PricedChoice(0, 1.0, cost, context))
    assert np.abs(bandit.predict_costs(memory, 0.5)).max() <= 0.5 * 100 * 5
