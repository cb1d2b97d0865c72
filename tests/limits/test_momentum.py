"""Momentum rules against their theory: rates, the worst case of triple momentum, a cycle, and their flows."""

from math import sqrt

import pytest
import torch

from forerun.limits import AndersonMixing, LimitStatus, NoLimit
from forerun.limits.momentum import (
    ConstantMomentum,
    ConvexNesterov,
    MomentumFlow,
    cautious_heavy_ball,
    distance_to_flow,
    gradient_descent,
    heavy_ball,
    kinked_gradient,
    minimize,
    nesterov,
    trace_rule,
    triple_momentum,
)

SMOOTHNESS, CONVEXITY = 25.0, 1.0


@pytest.mark.parametrize(
    "rule",
    [gradient_descent, cautious_heavy_ball, nesterov, triple_momentum, lambda large, _: ConvexNesterov(1 / large)],
)
def test_a_rule_finds_the_minimum_of_a_kinked_function(rule):
    limit = minimize(
        kinked_gradient, torch.tensor([3.3], dtype=torch.float64), rule(SMOOTHNESS, CONVEXITY), tolerance=1e-9
    )
    assert limit.status is LimitStatus.CONVERGED
    assert limit.value.abs().item() <= 1e-8


def test_heavy_ball_goes_round_three_points():
    with pytest.raises(NoLimit, match="cycle") as caught:
        minimize(kinked_gradient, torch.tensor([3.3], dtype=torch.float64), heavy_ball(SMOOTHNESS, CONVEXITY))
    limit = caught.value.limit
    assert limit.status is LimitStatus.CYCLE
    assert limit.period.item() == 3
    cycle = torch.tensor([2.1156, 0.6465, -1.8024], dtype=torch.float64)
    assert (cycle - limit.state["point"]).abs().min() <= 1e-3


@pytest.mark.parametrize(
    "rule, rate",
    [
        (gradient_descent, lambda root: (root**2 - 1) / (root**2 + 1)),
        (heavy_ball, lambda root: (root - 1) / (root + 1)),
        (nesterov, lambda root: 1 - 1 / root),
        (triple_momentum, lambda root: 1 - 1 / root),
    ],
)
def test_the_rate_on_a_quadratic_is_that_of_theory(rule, rate):
    curvatures = torch.logspace(0, 2, 50, dtype=torch.float64)
    made = rule(100.0, 1.0)
    assert made.quadratic_rate(curvatures) == pytest.approx(rate(10.0), abs=1e-6)
    limit = minimize(lambda x: curvatures * x, torch.ones(50, dtype=torch.float64), made, tolerance=1e-13)
    assert limit.rate.item() == pytest.approx(rate(10.0), abs=0.02)


def test_triple_momentum_keeps_its_worst_case():
    """PEPit: at most 0.238925 |x0 - x*|^2 for mu = 0.1, L = 1, four gradients; a quadratic attains it."""
    rule = triple_momentum(1.0, 0.1)
    worst = 0.0
    for curvature in torch.linspace(0.1, 1.0, 10, dtype=torch.float64):
        state = rule.begin_state(torch.ones(1, dtype=torch.float64))
        for _ in range(4):
            state = rule.advance_state(lambda x, curvature=curvature: curvature * x, state)
        worst = max(worst, float(curvature / 2 * rule.read_point(state) ** 2))
    assert worst == pytest.approx(0.238925, abs=1e-6)


def test_the_convex_rule_keeps_its_bound_where_curvature_vanishes():
    x0 = torch.tensor([2.0], dtype=torch.float64)
    points = trace_rule(ConvexNesterov(1.0), lambda x: x**3 / 12, x0, 200)  # f = x^4 / 48, curvature at most 1
    bounds = 2 * 4.0 / (torch.arange(1, 201, dtype=torch.float64) + 1) ** 2
    assert (points[1:, 0] ** 4 / 48 <= bounds).all()


@pytest.mark.parametrize("rule", [heavy_ball, nesterov])
def test_a_rule_follows_its_flow_to_the_order_of_its_step(rule):
    curvatures = torch.tensor([1.0, 5.0], dtype=torch.float64)
    x0 = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def gradient(x):
        return curvatures * x + 0.3 * torch.sin(x)

    distances = [distance_to_flow(rule(1 / step, 0.7), gradient, x0, 3.0) for step in (0.04, 0.01)]
    assert 3.0 <= distances[0] / distances[1] <= 5.0  # a quarter of the step, a quarter of the distance


def test_the_friction_of_nesterovs_flow_is_twice_the_root_of_the_convexity():
    flow = MomentumFlow.of_rule(nesterov(1e6, 0.49))
    assert flow.friction == pytest.approx(2 * sqrt(0.49), rel=1e-2)
    assert flow.correction > 0
    assert MomentumFlow.of_rule(heavy_ball(1e6, 0.49)).correction == 0


def test_points_may_be_trees_and_methods_may_accelerate():
    target = {"a": torch.randn(3, dtype=torch.float64), "b": [torch.randn(2, 2, dtype=torch.float64)]}

    def loss(x):
        return 5 * (x["a"] - target["a"]).square().sum() + 0.5 * (x["b"][0] - target["b"][0]).square().sum()

    x0 = {"a": torch.zeros(3, dtype=torch.float64), "b": [torch.zeros(2, 2, dtype=torch.float64)]}
    plain = minimize(torch.func.grad(loss), x0, nesterov(10.0, 1.0), tolerance=1e-9)
    mixed = minimize(torch.func.grad(loss), x0, nesterov(10.0, 1.0), tolerance=1e-9, method=AndersonMixing(5))
    for limit in (plain, mixed):
        torch.testing.assert_close(limit.value, target, atol=1e-7, rtol=0)
    assert mixed.evaluations < plain.evaluations


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: nesterov(1.0, 2.0), "0 <= mu <= L"),
        (lambda: nesterov(1.0, 0.0), "ConvexNesterov"),
        (lambda: gradient_descent(float("nan")), "curvature"),
        (lambda: cautious_heavy_ball(1.0, 0.5, step_size=2.0), "pass at most 1"),
        (lambda: ConstantMomentum(-0.1), "does not descend"),
        (lambda: minimize(lambda x: x, torch.ones(2), 0.1), "nesterov"),
    ],
)
def test_bad_input_is_refused_with_the_line_to_type(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_a_step_that_is_too_long_is_seen_to_diverge():
    with pytest.raises(NoLimit) as limit_error:
        minimize(lambda x: x, torch.ones(2), ConstantMomentum(2.5))
    assert limit_error.value.limit.status is LimitStatus.DIVERGED
