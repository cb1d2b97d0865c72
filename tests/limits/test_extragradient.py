"""Minimax: thresholds of theory, the test of stationary points, depth one, two and endless, and games of trees."""

import pytest
import torch

from forerun.limits import AndersonMixing, LimitStatus, NoLimit
from forerun.limits.extragradient import (
    OptimisticSteps,
    PicardSteps,
    descent_ascent,
    extragradient,
    judge_stationary,
    minimax,
    proximal_point,
    step_radius,
)

ZERO = torch.zeros(1, dtype=torch.float64)
ONE = torch.ones(1, dtype=torch.float64)


def degenerate(x, y):
    """A local minimax point at 0 with no curvature in y."""
    return (-0.5 * x * x + 1.5 * x * y).sum()


def saddle(x, y):
    """A bilinear game, which simultaneous steps circle."""
    return (x * y).sum()


@pytest.mark.parametrize("step, radius", [(0.44, 1.00005), (0.45, 1.000003), (0.5, 0.99973), (0.6, 0.99903)])
def test_extragradient_is_attracted_from_a_step_of_four_ninths_on(step, radius):
    """1 / c^2 = 4 / 9 is the threshold as the time scale grows."""
    assert step_radius(degenerate, ZERO, ZERO, extragradient(step, 100.0)) == pytest.approx(radius, abs=2e-5)


@pytest.mark.parametrize("timescale", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("step", [0.01, 0.1, 0.5, 1.0])
def test_descent_ascent_is_never_attracted_there(step, timescale):
    assert step_radius(degenerate, ZERO, ZERO, descent_ascent(step, timescale)) > 1


def test_the_radius_is_that_of_the_map():
    def game(x, y):
        return (0.3 * x**2 + x * y.sin() - 0.2 * y**2 + 0.1 * x**3).sum()

    for rule in (
        descent_ascent(0.3, 2.0),
        extragradient(0.3, 2.0),
        PicardSteps(0.3, 2.0, depth=3),
        proximal_point(0.3, 2.0),
    ):

        def step(vector, rule=rule):
            players = rule.advance_state(game, {"x": vector[:1], "y": vector[1:]})
            return torch.cat([players["x"], players["y"]])

        columns = []
        for axis in torch.eye(2, dtype=torch.float64):
            columns.append((step(1e-5 * axis) - step(-1e-5 * axis)) / 2e-5)
        radius = torch.linalg.eigvals(torch.stack(columns, 1)).abs().max().item()
        assert step_radius(game, ZERO, ZERO, rule) == pytest.approx(radius, abs=1e-6)


@pytest.mark.parametrize(
    "game, expected",
    [
        (degenerate, True),
        (lambda x, y: (x * x - y * y).sum(), True),
        (lambda x, y: (-x * x - y * y).sum(), False),  # x can still descend
        (lambda x, y: (x * x + y * y).sum(), False),  # y can still climb
        (lambda x, y: (-x * x + 2 * x * y - 0.5 * y * y).sum(), True),  # A - C^2 / B = -2 + 4 > 0
        (lambda x, y: (-x * x + 0.5 * x * y - 0.5 * y * y).sum(), False),
        (lambda x, y: (-0.5 * x * x + 0 * x * y).sum(), False),  # degenerate, and nothing outweighs x
        (lambda x, y: (x + y).sum(), False),  # not stationary
    ],
)
def test_the_second_order_conditions_are_those_of_a_local_minimax_point(game, expected):
    verdict = judge_stationary(game, ZERO, ZERO)
    assert verdict.is_local_minimax() is expected
    assert ("not a local minimax" in str(verdict)) is not expected


def test_extragradient_finds_what_descent_ascent_runs_away_from():
    found = minimax(degenerate, ONE, ONE, extragradient(1.0, 20.0), tolerance=1e-8)
    assert found.verdict is not None
    assert found.verdict.is_local_minimax()
    assert found.verdict.is_degenerate
    for point in found.value:
        assert point.abs().item() <= 1e-5
    lost = minimax(degenerate, ONE, ONE, descent_ascent(1.0, 20.0), throw=False, max_evaluations=500)
    assert not lost.status.done


@pytest.mark.parametrize(
    "rule", [extragradient(0.3), OptimisticSteps(0.3), proximal_point(0.3), PicardSteps(0.3, depth=4)]
)
def test_a_bilinear_game_is_solved(rule):
    limit = minimax(saddle, ONE, ONE, rule, tolerance=1e-9)
    assert max(point.abs().item() for point in limit.value) <= 1e-7


def test_mixing_needs_a_fraction_of_the_steps():
    plain = minimax(degenerate, ONE, ONE, extragradient(1.0, 20.0), tolerance=1e-6)
    mixed = minimax(degenerate, ONE, ONE, extragradient(1.0, 20.0), tolerance=1e-6, method=AndersonMixing(5))
    assert mixed.evaluations <= plain.evaluations / 10
    assert mixed.verdict.is_local_minimax()


def test_players_may_be_parameters_of_modules():
    torch.manual_seed(0)
    data, labels = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, dtype=torch.float64)

    def robust_loss(x, y):
        errors = (data + y["shift"]) @ x["weight"] + x["bias"] - labels
        return errors.square().mean() + 0.1 * x["weight"].square().sum() - 10 * y["shift"].square().sum()

    x = {"weight": torch.zeros(3, dtype=torch.float64), "bias": ZERO}
    limit = minimax(robust_loss, x, {"shift": torch.zeros(3, dtype=torch.float64)}, extragradient(0.03), tolerance=1e-9)
    assert limit.status is LimitStatus.CONVERGED
    assert limit.verdict.is_local_minimax()
    assert set(limit.value[0]) == {"weight", "bias"}


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: extragradient(-0.1), r"extragradient\(0.1\)"),
        (lambda: PicardSteps(0.1, depth=0), "takes no step"),
        (lambda: minimax(saddle, ONE, ONE, 0.1), "MinimaxRule"),
        (lambda: judge_stationary(saddle, torch.zeros(600), torch.zeros(600)), "judged=False"),
    ],
)
def test_bad_games_are_refused_with_advice(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_players_who_run_away_are_no_limit():
    with pytest.raises(NoLimit):
        minimax(lambda x, y: (-x * x + y * y).sum(), ONE, ONE, extragradient(0.5))
