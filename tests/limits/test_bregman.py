"""Averaging in a mirror: the potentials, the scheme's exponent, its noise, and limits on the simplex."""

import math

import pytest
import torch

import forerun
from forerun import Secant
from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, ContractiveHalpern, Halpern, Plain
from forerun.limits.bregman import (
    CustomPotential,
    Entropy,
    MirrorMap,
    QuadraticPotential,
    measure_contraction,
    measure_exponent,
    mirror_iteration,
    mirror_limit,
    predict_exponent,
)

DOUBLE = torch.float64
MATRIX = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]], dtype=DOUBLE)
POINTS = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3]], dtype=DOUBLE)
POTENTIALS = {
    "euclidean": QuadraticPotential(),
    "quadratic": QuadraticPotential(MATRIX),
    "entropy": Entropy(),
    "custom": CustomPotential(lambda x: (x.square() / 2 + x**4 / 4).sum(-1)),
    "custom with an inverse": CustomPotential(lambda x: (x * x.log() - x).sum(-1), torch.exp),
}
each_potential = pytest.mark.parametrize("potential", POTENTIALS.values(), ids=POTENTIALS)


def towards(target, rate, potential):
    """A contraction by `rate` in the mirror of a potential, with its limit."""
    image = potential.mirror(target)

    def operator(x):
        return potential.unmirror(rate * potential.mirror(x) + (1 - rate) * image)

    return operator


@each_potential
def test_mirrors_are_inverted_and_divergences_are_those_of_bregman(potential):
    x, y = POINTS, POINTS.flip(0)
    torch.testing.assert_close(potential.unmirror(potential.mirror(x)), x)
    slope = torch.func.grad(lambda points: potential.measure_value(points).sum())(y)
    expected = potential.measure_value(x) - potential.measure_value(y) - (slope * (x - y)).sum(-1)
    torch.testing.assert_close(potential.measure_divergence(x, y), expected)
    assert (potential.measure_divergence(x, x).abs() < 1e-12).all()
    assert (potential.measure_divergence(x, y) >= -1e-12).all()


@each_potential
def test_an_average_has_the_limit_of_its_operator(potential):
    target = POINTS[0]
    limit = mirror_limit(towards(target, 0.6, potential), POINTS[1], potential, tolerance=1e-10, method=Plain())
    torch.testing.assert_close(limit.value, target)
    check_map(MirrorMap(towards(target, 0.6, potential), potential), potential.mirror(POINTS[1]))


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("potential", [QuadraticPotential(), Entropy()])
def test_the_exponent_is_the_one_that_products_give_and_not_two(rate, potential):
    target = torch.tensor([0.2, 0.3, 0.5], dtype=DOUBLE)
    solution = mirror_iteration(towards(target, rate, potential), POINTS[1], potential, steps=400)
    divergences = potential.measure_divergence(target.expand_as(solution.points), solution.points)
    assert measure_exponent(divergences, 200) == pytest.approx(predict_exponent(rate), abs=0.05)
    assert (predict_exponent(rate) <= -2) == (rate <= 0.5)


def test_errors_are_the_product_of_the_shares():
    solution = mirror_iteration(lambda x: 0.7 * x, torch.ones(2, dtype=DOUBLE), QuadraticPotential(), steps=20)
    expected = math.prod(1 - 0.3 * 2 / (step + 2) for step in range(20))
    torch.testing.assert_close(solution.value, torch.full((2,), expected, dtype=DOUBLE))


def test_noise_belongs_to_the_step_and_stays():
    def run(noise, **options):
        x0 = torch.ones(50, dtype=DOUBLE)
        return mirror_iteration(lambda x: 0.4 * x, x0, QuadraticPotential(), steps=300, noise=noise, **options)

    noisy = run(0.01)
    torch.testing.assert_close(noisy.points, run(0.01).points)
    assert not torch.equal(noisy.points, run(0.01, seed=1).points)
    assert run(0.0).value.square().mean() < 1e-5
    assert noisy.value.square().mean() > 1e-4 * 10  # the shares vanish, and with them what pulls noise back
    ahead = run(0.01, method=Secant(), window=50, tolerance=1e-10)
    torch.testing.assert_close(ahead.points, noisy.points, atol=1e-7, rtol=0)
    assert len(ahead.log) < 100


def test_mixtures_on_the_simplex_stay_there():
    scores = torch.randn(30, 30, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    scores = (scores + scores.T) / 4
    first = torch.full((30,), 1 / 30, dtype=DOUBLE)
    costs = {}
    for method in (Plain(), AndersonMixing(5)):
        limit = mirror_limit(lambda x: (5 * scores @ x).softmax(-1), first, Entropy(), method=method, tolerance=1e-10)
        assert limit.value.sum() == pytest.approx(1)
        assert (limit.value > 0).all()
        costs[type(method)] = limit.evaluations
    assert costs[AndersonMixing] < costs[Plain]


def test_contraction_constants_are_found_from_below():
    potential = Entropy()
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 0.1
    points = points / points.sum(-1, keepdim=True)
    assert measure_contraction(lambda x: 0.7 * x, QuadraticPotential(), points) == pytest.approx(0.49)
    assert 0 < measure_contraction(towards(points[0], 0.6, potential), potential, points) < 1
    with pytest.raises(ValueError, match="the same"):
        measure_contraction(lambda x: x, potential, points[:1].expand(3, 3))


def test_the_optimal_anchor_keeps_its_bound_and_is_halperns_at_one():
    rate, turn = 0.95, torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=DOUBLE)
    first = torch.ones(2, dtype=DOUBLE)

    def residuals(method, factor, count):
        path = []
        options = {"callback": lambda event: path.append(float(event.residual)), "throw": False, "tolerance": 1e-12}
        forerun.fixed_point(lambda x: factor * (turn @ x), first, method=method, max_evaluations=count, **options)
        return path

    anchored = residuals(ContractiveHalpern(rate), rate, 30)
    for count, residual in enumerate(anchored[:-1]):
        bound = (1 + rate) / sum(rate**-power for power in range(count + 1))
        assert residual <= bound * (1 + 1e-9)  # root mean squares of residual and first distance
    torch.testing.assert_close(residuals(ContractiveHalpern(1.0), 1.0, 20), residuals(Halpern(restart=0), 1.0, 20))


@pytest.mark.parametrize(
    "potential, x0, says",
    [
        (Entropy(), torch.tensor([0.5, 0.6]), "whose sum is 1"),
        (Entropy(), torch.tensor([1.0, 0.0]), "no finite gradient"),
        (Entropy(), torch.tensor([1.5, -0.5]), "no finite gradient"),
        (QuadraticPotential(), torch.tensor([float("nan")]), "no finite gradient"),
    ],
)
def test_points_outside_are_refused(potential, x0, says):
    with pytest.raises(ValueError, match=says):
        mirror_limit(lambda x: x, x0, potential)


def test_other_bad_input_is_refused():
    x0 = torch.ones(2)
    with pytest.raises(TypeError, match="Entropy"):
        mirror_iteration(lambda x: x, x0, "entropy", steps=3)
    with pytest.raises(TypeError, match="floats"):
        mirror_limit(lambda x: x, torch.ones(2, dtype=torch.int64), QuadraticPotential())
    with pytest.raises(ValueError, match="1 or more"):
        mirror_iteration(lambda x: x, x0, QuadraticPotential(), steps=0)
    with pytest.raises(ValueError, match="not symmetric"):
        QuadraticPotential(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="not positive definite"):
        QuadraticPotential(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    with pytest.raises(ValueError, match="contraction"):
        ContractiveHalpern(1.5)
