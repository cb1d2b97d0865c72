"""Certificates: what they know of a limit is true, and what they cannot know they do not say."""

import pytest
import torch
from limits.maps import DOUBLE, linear, normal
from limits.test_limit_methods import rotation

from forerun import Absolute, fixed_point
from forerun.limits import AlphaTest, Averaged, Displacement, Halpern, LimitStatus, NewtonKrylov, Plain, Spectral


def translated_rotation(x):
    """Turns in a plane and moves along the third axis: nonexpansive, without a fixed point."""
    cosine, sine = 0.8, 0.6
    turned = torch.stack([cosine * x[0] - sine * x[1], sine * x[0] + cosine * x[1]])
    return torch.cat([0.5 * (turned + x[:2]), x[2:] + 0.25])


@pytest.mark.parametrize("method", [Plain(), Averaged(0.5), Halpern(restart=0)], ids=repr)
def test_a_map_without_a_fixed_point_is_seen(method):
    certificate = Displacement(accuracy=0.05)
    x0 = normal(3)
    limit = fixed_point(translated_rotation, x0, method=method, certificate=certificate, throw=False)
    assert limit.status is LimitStatus.NO_FIXED_POINT
    assert torch.allclose(limit.displacement, torch.tensor([0, 0, 0.25], dtype=DOUBLE), atol=0.02)


def test_a_translation_is_seen_by_default():
    limit = fixed_point(lambda x: x + 1, torch.zeros(2, dtype=DOUBLE), throw=False)
    assert limit.status is LimitStatus.NO_FIXED_POINT
    assert limit.evaluations < 2000


def test_slow_convergence_is_not_taken_for_a_displacement():
    x0 = torch.full((2,), 1e6, dtype=DOUBLE)
    limit = fixed_point(lambda x: 0.9999 * x, x0, method=Plain(), max_evaluations=3000, throw=False)
    assert limit.status is LimitStatus.OUT_OF_BUDGET


def test_the_spectrum_at_the_limit_is_found():
    known = linear(radius=0.9, size=15, symmetric=False)
    limit = fixed_point(known.map, known.x0, certificate=Spectral(15), tolerance=Absolute(1e-8))
    assert "attracts the plain iteration: the spectral radius of the Jacobian there is about 0.9." in limit.notes[0]
    error = float((limit.value - known.limit).square().mean().sqrt())
    assert error <= float(limit.error_bound)


def test_a_limit_that_repels_is_said_to():
    known = linear(radius=3.0, size=10)
    limit = fixed_point(known.map, known.x0, method=NewtonKrylov(accuracy=1e-8), certificate=Spectral(10))
    assert limit.status is LimitStatus.CONVERGED
    assert "does not attract" in limit.notes[0]


def test_the_spectrum_of_a_batch_is_taken_of_what_has_converged():
    known = linear(radius=0.5, batch=(4,), size=6)
    limit = fixed_point(known.map, known.x0, certificate=Spectral(6))
    assert limit.status is LimitStatus.CONVERGED
    assert bool((limit.error_bound > 0).all())


def newton(x):
    """Newton's map of `x^2 - 2`."""
    return x - (x**2 - 2) / (2 * x)


def test_the_alpha_test_proves_a_root():
    certificate = AlphaTest(lambda x: (1 / (2 * x)).abs().amax(-1))
    x0 = torch.full((1,), 1.5, dtype=DOUBLE)
    limit = fixed_point(newton, x0, method=Plain(), certificate=certificate, tolerance=0.01)
    assert limit.status is LimitStatus.CERTIFIED
    assert abs(float(limit.value) - 2**0.5) <= float(limit.error_bound) <= 0.01


def test_an_alpha_that_is_too_large_proves_nothing():
    certificate = AlphaTest(lambda x: torch.tensor(1e6, dtype=DOUBLE))
    limit = fixed_point(newton, torch.full((1,), 1.5, dtype=DOUBLE), certificate=certificate, tolerance=0.01)
    assert limit.status is LimitStatus.CONVERGED
    assert "alpha is" in limit.notes[0]


def test_a_gamma_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="one number for each problem"):
        fixed_point(newton, torch.ones(2), certificate=AlphaTest(lambda x: x), tolerance=0.1)


def test_a_cycle_of_any_period_is_found():
    def evaluate(x):  # a permutation of three, which is not averaged away by itself
        return x.roll(1)

    limit = fixed_point(evaluate, torch.tensor([1.0, 2.0, 4.0]), method=Plain(), throw=False)
    assert limit.status is LimitStatus.CYCLE
    assert int(limit.period) == 3
    known = rotation(angle=0.3)
    limit = fixed_point(known.map, known.x0, method=Plain(), throw=False, max_evaluations=500)
    assert limit.status is LimitStatus.OUT_OF_BUDGET  # an irrational turn never comes back


def test_settings_of_certificates_are_refused():
    with pytest.raises(ValueError, match="directions=0"):
        Spectral(0)


# What would fool them.


@pytest.mark.parametrize(
    "evaluate, says",
    [
        (lambda x: torch.from_numpy(0.5 * x.numpy() + 1), "Nothing is known of the spectrum"),
        (lambda x: (0 * x).abs().sqrt(), "derivatives there are not finite"),
        (lambda x: 0 * x + 1, "is about 0."),
        (lambda x: x * 1, "does not attract"),
        (lambda x: 0.5 * x.round(), "is about 0."),
    ],
    ids=["numpy", "nan", "constant", "identity", "steps"],
)
def test_spectra_of_maps_that_have_none_lose_nothing(evaluate, says):
    limit = fixed_point(evaluate, torch.ones(3, dtype=DOUBLE), certificate=Spectral())
    assert limit.status is LimitStatus.CONVERGED
    assert any(says in note for note in limit.notes)


@pytest.mark.parametrize("shape, batch_dims", [((0,), 0), ((0, 3), 1), ((2, 0), 1), ((), 0)])
def test_spectra_of_few_numbers(shape, batch_dims):
    x0 = torch.zeros(shape, dtype=DOUBLE)
    limit = fixed_point(lambda x: 0.5 * x + 1, x0, batch_dims=batch_dims, certificate=Spectral())
    assert limit.status.done


def test_a_spectrum_that_is_not_normal_is_bounded():
    """Two equal eigenvalues and one eigenvector: a small residual is an error of a hundred times its size."""
    J = torch.tensor([[0.5, 100.0], [0.0, 0.5]], dtype=DOUBLE)
    exact = torch.linalg.solve(torch.eye(2, dtype=DOUBLE) - J, torch.ones(2, dtype=DOUBLE))
    limit = fixed_point(lambda x: J @ x + 1, exact + 1e-5, certificate=Spectral(), tolerance=1e-2, method=Plain())
    error = float((limit.value - exact).square().mean().sqrt())
    assert error <= float(limit.error_bound)
    assert "about 0.5" in limit.notes[0]


def test_a_pair_of_complex_eigenvalues_is_one_radius():
    turn = 0.8 * torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=DOUBLE)
    limit = fixed_point(lambda x: turn @ x + 1, torch.zeros(2, dtype=DOUBLE), certificate=Spectral())
    assert "about 0.8" in limit.notes[0]


def test_what_goes_to_and_fro_and_shrinks_is_no_cycle():
    limit = fixed_point(
        lambda x: -0.9999 * x + 1, torch.ones(4, dtype=DOUBLE), method=Plain(), throw=False, max_evaluations=2000
    )
    assert limit.status is LimitStatus.OUT_OF_BUDGET
    rounding = fixed_point(torch.cos, torch.ones(4), method=Plain(), throw=False, tolerance=0.0, max_evaluations=2000)
    assert rounding.status is not LimitStatus.CYCLE  # the last digit may go round for ever


def test_cycles_of_a_batch_have_their_own_periods():
    def evaluate(x):
        pair = torch.cat([x[1][:2].roll(1), 0 * x[1][2:]])
        return torch.stack([x[0].roll(1), pair, 0.5 * x[2]])

    x0 = torch.tensor([[1.0, 2.0, 4.0]] * 3, dtype=DOUBLE)
    limit = fixed_point(evaluate, x0, batch_dims=1, method=Plain(), throw=False)
    assert limit.period.tolist() == [3, 2, 0]
    assert limit.statuses[2].done


def test_a_long_cycle_is_found_once_two_periods_are_over():
    x0 = torch.arange(97, dtype=DOUBLE).square()
    limit = fixed_point(lambda x: x.roll(1), x0, method=Plain(), throw=False)
    assert int(limit.period) == 97
    assert limit.evaluations < 300
