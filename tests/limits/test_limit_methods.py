"""The methods of limits: what each is defined by, and where acceleration hurts."""

import pytest
import torch
from limits.maps import DOUBLE, KnownMap, linear, normal, template, value_iteration

from forerun import Map, fixed_point
from forerun.engine.limit_methods.filtered_anderson import insert_column
from forerun.engine.numerics.krylov import solve_gmres
from forerun.limits import (
    Aitken,
    AndersonMixing,
    AndersonTypeOne,
    AutoMixing,
    Averaged,
    Broyden,
    Cycled,
    FilteredAnderson,
    Halpern,
    Levin,
    LimitStatus,
    Monotone,
    NewtonKrylov,
    Periodic,
    Plain,
    Shanks,
    Unguarded,
)


def evaluations(known: KnownMap, method, **keywords):
    limit = fixed_point(known.map, known.x0, method=method, tolerance=1e-8, **keywords)
    assert limit.status is LimitStatus.CONVERGED
    return limit.evaluations


@pytest.mark.parametrize(
    "method, most",
    [
        (AndersonMixing(20), 12),
        (FilteredAnderson(20), 12),
        (AutoMixing(20), 13),
        (Broyden(30), 22),  # twice the dimension (Gay, 1979)
        (AndersonTypeOne(20), 14),
        (NewtonKrylov(30, accuracy=1e-10), 22),
        (Cycled(Shanks(), 17), 18),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_affine_map_takes_about_its_dimension(method, most):
    assert evaluations(linear(size=8, radius=0.95), method) <= most


def test_the_filtered_method_equals_the_plain_formula():
    known = value_iteration()
    ends = [
        fixed_point(known.map, known.x0, method=method, max_evaluations=8, throw=False, tolerance=0.0).value
        for method in (AndersonMixing(4, regularization=0.0), FilteredAnderson(4, angle=0.0))
    ]
    assert float((ends[0] - ends[1]).abs().max()) < 1e-8


def test_rotations_carry_the_factorisation_on():
    Q, R = torch.zeros(2, 0, 7, dtype=DOUBLE), torch.zeros(2, 0, 0, dtype=DOUBLE)
    columns = normal(2, 4, 7)
    for k in range(4):
        Q, R = insert_column(Q, R, columns[:, k])
    matrix = R.mT @ Q
    assert torch.allclose(matrix, columns.flip(1), atol=1e-13)
    assert torch.allclose(Q @ Q.mT, torch.eye(4, dtype=DOUBLE).expand(2, 4, 4), atol=1e-13)
    assert torch.equal(R, R.triu())


def test_gmres_solves_systems_of_different_kinds_together():
    A = torch.eye(6, dtype=DOUBLE) + 0.3 * normal(3, 6, 6)
    A[1] = torch.eye(6, dtype=DOUBLE)  # its space is complete after one step
    b = normal(3, 6, seed=1)
    b[2] = 0
    x, residuals = solve_gmres(lambda v: (A @ v.unsqueeze(-1)).squeeze(-1), b, accuracy=1e-12, max_steps=6)
    assert torch.allclose(x, torch.linalg.solve(A, b), atol=1e-10)
    assert float(residuals.max()) < 1e-10


def test_newton_converges_where_the_plain_iteration_runs_away():
    known = linear(radius=3.0)
    assert evaluations(known, NewtonKrylov(accuracy=1e-8)) < 70
    limit = fixed_point(known.map, known.x0, method=Plain(), throw=False)
    assert limit.status is LimitStatus.DIVERGED


def test_a_derivative_of_the_users_own_is_used():
    def linearise(x):
        return lambda v: -x.sin() * v

    calls = []

    def evaluate(x):
        calls.append(x)
        return x.detach().cos()

    user_map = Map.from_function(evaluate, linearisation=linearise)
    limit = fixed_point(user_map, torch.ones(3, dtype=DOUBLE), method=NewtonKrylov(accuracy=1e-10), tolerance=1e-12)
    assert len(calls) < limit.evaluations < 14
    assert float((limit.value - 0.7390851332151607).abs().max()) < 1e-12


def test_a_map_that_torch_cannot_differentiate_is_refused():
    def evaluate(x):
        return torch.from_numpy(x.numpy() * 0.5)

    with pytest.raises(ValueError, match="linearisation="):
        fixed_point(evaluate, torch.ones(3), method=NewtonKrylov())


def rotation(angle=0.3, dtype=DOUBLE):
    """Goes round its fixed point for ever: nonexpansive, and no contraction."""
    cosine, sine = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    R = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=dtype)
    return KnownMap(Map.from_function(lambda x: R @ (x - 1) + 1), torch.zeros(2, dtype=dtype), torch.ones(2))


@pytest.mark.parametrize("method", [Averaged(0.5), Halpern(), AutoMixing(), AndersonMixing()], ids=repr)
def test_a_map_that_only_does_not_expand_has_its_limit_found(method):
    known = rotation()
    limit = fixed_point(known.map, known.x0, method=method, tolerance=1e-8)
    assert float((limit.value - known.limit).abs().max()) < 1e-6


def test_halpern_keeps_its_rate_without_restarts():
    known = rotation()
    limit = fixed_point(known.map, known.x0, method=Halpern(restart=0), max_evaluations=400, throw=False)
    distance = float(torch.linalg.vector_norm(known.x0 - known.limit))
    for k in (10, 100, 399):  # |x_k - T x_k| <= 2 |x_0 - x*| / (k + 1) (Lieder); a residual is the root of a mean
        residual = fixed_point(
            known.map,
            known.x0,
            method=Halpern(restart=0),
            max_evaluations=k + 1,
            throw=False,
            tolerance=0.0,
            repeatable=False,
        )
        last = float(torch.linalg.vector_norm(residual.displacement))
        assert last <= 2 * distance / (k + 1) + 1e-12
    restarted = fixed_point(known.map, known.x0, method=Halpern(), tolerance=1e-8)
    assert restarted.evaluations < 400 == limit.evaluations


def test_periodic_mixes_only_now_and_then():
    known = linear(size=12, radius=0.95)
    assert evaluations(known, Periodic(AndersonMixing(5), period=3)) < evaluations(known, Plain()) / 3


# Sequences.


def partial_sums(function, count):
    terms = torch.tensor([function(k) for k in range(count)], dtype=DOUBLE)
    return terms.cumsum(0)


def test_transforms_of_sequences_find_their_limits():
    geometric = 3 + 2 * 0.8 ** torch.arange(3, dtype=DOUBLE)
    assert float(Aitken().extrapolate(geometric)) == pytest.approx(3.0, abs=1e-12)
    k = torch.arange(5, dtype=DOUBLE)
    two_modes = 3 + 2 * 0.8**k - 0.5**k
    assert float(Shanks(elementwise=True).extrapolate(two_modes)) == pytest.approx(3.0, abs=1e-10)
    logarithm = partial_sums(lambda n: (-1) ** n / (n + 1), 12)
    assert float(Levin().extrapolate(logarithm)) == pytest.approx(0.6931471805599453, abs=1e-9)
    basel = partial_sums(lambda n: 1 / (n + 1) ** 2, 12)  # converges as 1 / n
    assert float(Levin().extrapolate(basel)) == pytest.approx(torch.pi**2 / 6, abs=1e-6)
    assert abs(float(basel[-1]) - torch.pi**2 / 6) > 0.05


@pytest.mark.parametrize("transform", [Aitken(), Shanks(), Levin()], ids=repr)
def test_a_sequence_that_has_ended_stays(transform):
    still = torch.ones(7, 3, dtype=DOUBLE)
    assert torch.equal(transform.extrapolate(still), still[-1])
    assert torch.equal(transform.extrapolate(still[:1]), still[-1])


# Where acceleration hurts.

ACCELERATED = {
    "anderson": AndersonMixing(),
    "type one": AndersonTypeOne(),
    "broyden": Broyden(),
    "shanks": Cycled(Shanks(), 5),
}


@pytest.mark.parametrize("method", ACCELERATED)
def test_acceleration_hurts_where_the_map_is_piecewise_constant(method):
    """Templates: the plain iteration ends after finitely many steps, on an exact zero of the residual."""
    known = template()
    plain = fixed_point(known.map, known.x0, method=Plain(), tolerance=1e-9)
    assert plain.residuals[-1] < 1e-12
    accelerated = fixed_point(
        known.map, known.x0, method=ACCELERATED[method], safeguard=Unguarded(), tolerance=1e-9, throw=False,
        max_evaluations=3 * plain.evaluations,
    )  # fmt: skip
    assert accelerated.evaluations > plain.evaluations
    guarded = fixed_point(known.map, known.x0, method=ACCELERATED[method], safeguard=Monotone(), tolerance=1e-9)
    merits = [float(known.map.merit(state)) for state in (plain.value, guarded.value)]
    assert merits[1] <= merits[0] + 0.02 * abs(merits[0])


HOSTILE = {
    "template": template,
    "value iteration": lambda: value_iteration(discount=0.99),
    "linear": linear,
    "quick": lambda: linear(radius=0.1),
    "kinks": lambda: KnownMap(
        Map.from_function(lambda x: torch.where(x > 1, 0.9 * x, -0.2 * x)), normal(20).abs() * 9, torch.zeros(20)
    ),
    "steps": lambda: KnownMap(
        Map.from_function(lambda x: 0.5 * x + 0.01 * torch.round(30 * x.roll(1))), normal(20), torch.zeros(20)
    ),
    "rounding": lambda: KnownMap(
        Map.from_function(lambda x: torch.round(0.93 * x * 64) / 64), 20 * normal(20), torch.zeros(20)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_auto_is_never_much_slower_than_plain(name):
    known = HOSTILE[name]()
    plain, auto = (
        fixed_point(known.map, known.x0, method=method, tolerance=1e-8, throw=False, max_evaluations=3000)
        for method in (Plain(), AutoMixing())
    )
    # templates: residuals that rise and fall at random say little, and the plain iteration ends all at once
    most = 3 * plain.evaluations if name == "template" else plain.evaluations + 12
    assert auto.evaluations <= most
    assert auto.status.done == plain.status.done or auto.status.done


def crowded_well(points=64, coupling=8.0):
    """The density of four electrons in a well, each in the mean field of all; the plain iteration cycles."""
    x = torch.linspace(-6, 6, points, dtype=DOUBLE)
    h = float(x[1] - x[0])
    kinetic = (torch.eye(points, dtype=DOUBLE) - 0.5 * torch.diag(torch.ones(points - 1, dtype=DOUBLE), 1)) / h**2
    kernel = coupling / torch.sqrt((x[:, None] - x[None, :]) ** 2 + 1)

    def evaluate(density):
        potential = 0.5 * x**2 + h * kernel @ density
        _, orbitals = torch.linalg.eigh(0.5 * (kinetic + kinetic.T) + torch.diag(potential))
        return 2 * (orbitals[:, :2] ** 2).sum(1) / h

    start = torch.exp(-(x**2))
    return evaluate, 4 * start / (start.sum() * h)


def test_auto_does_not_wait_for_plain_steps_that_go_round():
    evaluate, first = crowded_well()
    plain = fixed_point(evaluate, first, method=Plain(), tolerance=1e-8, throw=False, max_evaluations=300)
    assert not plain.status.done
    assert fixed_point(evaluate, first, method=AutoMixing(), tolerance=1e-8).evaluations < 150


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Halpern(restart=1.5), "not a share"),
        (lambda: AndersonTypeOne(0), "memory=0"),
        (lambda: FilteredAnderson(0), "memory=0"),
        (lambda: FilteredAnderson(angle=2), "angle"),
        (lambda: AutoMixing(0), "memory=0"),
        (lambda: Broyden(0), "memory=0"),
        (lambda: NewtonKrylov(0), "max_directions=0"),
        (lambda: NewtonKrylov(accuracy=1), "not a share"),
        (lambda: Periodic(period=0), "period=0"),
        (lambda: Cycled(terms=2), "terms=2"),
    ],
)
def test_settings_of_no_use_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
