"""Bad input to limits: a clear error, or a status with advice, and nothing lost."""

import pytest
import scipy.sparse as sparse
import torch
from limits.maps import DOUBLE

from forerun import Map, fixed_point
from forerun.limits import (
    AndersonMixing,
    AndersonTypeOne,
    AutoMixing,
    BradleyTerry,
    Broyden,
    FilteredAnderson,
    LimitStatus,
    NewtonKrylov,
    NoLimit,
    Plain,
    templates,
)
from forerun.limits.equilibrium import PIGN
from forerun.limits.preconditioner import LowerPattern, solve_linear

METHODS = [Plain(), AutoMixing(), AndersonMixing(5), FilteredAnderson(5), AndersonTypeOne(), Broyden(), NewtonKrylov()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
TWO = torch.ones(2, dtype=DOUBLE)


class Counted:
    """A map that counts its calls."""

    def __init__(self, evaluate):
        self.evaluate = evaluate
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.evaluate(x)


@pytest.mark.parametrize(
    "evaluate, says",
    [
        (lambda x: x[:1], "another shape"),
        (lambda x: x.unsqueeze(0), "another shape"),
        (lambda x: x.float(), "another dtype or device"),
        (lambda x: x.to("meta"), "another dtype or device"),
        (lambda x: (x, x), "another structure"),
        (lambda x: None, "another structure"),
        (lambda x: x.numpy(), "another structure"),
        (lambda x: x.add_(1), "in place"),
    ],
)
def test_a_map_that_changes_what_it_gets_is_refused_at_its_first_call(evaluate, says):
    counted = Counted(evaluate)
    with pytest.raises(ValueError, match=says):
        fixed_point(counted, TWO.clone())
    assert counted.calls == 1


@every_method
def test_a_map_that_is_not_finite_ends_with_the_last_state_that_is(method):
    counted = Counted(lambda x: torch.where(x > 3, float("nan"), 1.5 * x))
    limit = fixed_point(counted, TWO, method=method, throw=False)
    assert limit.status is not LimitStatus.CONVERGED or float(limit.value.abs().max()) < 1e-3  # zero is a limit
    assert bool(limit.value.isfinite().all())
    assert limit.advice


@every_method
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_map_that_is_never_finite_is_said_to_be(method, value):
    with pytest.raises(NoLimit, match="not finite"):
        fixed_point(lambda x: x * value, TWO, method=method)
    with pytest.raises(NoLimit, match="not finite"):
        fixed_point(lambda x: 0.5 * x, TWO * value, method=method)


@every_method
def test_a_map_that_draws_random_numbers_is_refused_early(method):
    def evaluate(x):
        calls.append(1)
        return 0.99 * x + generator_noise()

    calls = []
    generator = torch.Generator().manual_seed(0)

    def generator_noise():
        return 0.1 * torch.randn(2, generator=generator, dtype=DOUBLE)

    linearised = Map.from_function(evaluate, linearisation=lambda x: lambda v: 0.99 * v)
    with pytest.raises(ValueError, match="repeatable=False"):
        fixed_point(linearised, TWO, method=method)
    assert len(calls) < 20


@every_method
def test_a_map_without_a_fixed_point_has_none(method):
    limit = fixed_point(lambda x: x + 1, TWO, method=method, throw=False, max_evaluations=3000)
    assert not limit.status.done
    assert limit.status is not LimitStatus.CYCLE
    with pytest.raises(NoLimit) as caught:
        fixed_point(lambda x: x + 1 + 1 / (1 + x.square()), TWO, method=method, max_evaluations=500)
    assert caught.value.limit.checkpoint is not None


@every_method
def test_a_map_that_contracts_nowhere_is_no_wrong_answer(method):
    """Its limit repels: methods that see derivatives, or mix, may find it; the others say that states run away."""
    limit = fixed_point(lambda x: 3 * x + 1, TWO, method=method, throw=False, max_evaluations=300)
    if limit.status.done:
        assert torch.allclose(limit.value, -0.5 * TWO, atol=1e-5)
    else:
        assert limit.status in {LimitStatus.DIVERGED, LimitStatus.OUT_OF_BUDGET}


def test_a_singular_system_is_a_stalled_method_not_a_cycle():
    limit = fixed_point(lambda x: x + 1, TWO, method=NewtonKrylov(), throw=False)
    assert limit.status is LimitStatus.STALLED
    assert int(limit.period) == 0
    degenerate = fixed_point(lambda x: x + x.square(), TWO, method=NewtonKrylov(), tolerance=1e-8)
    assert float(degenerate.value.abs().max()) < 1e-3  # a double root: a small residual is a large error
    assert float(degenerate.error_bound) > 1e-6


def test_a_user_error_keeps_what_is_known():
    def evaluate(x):
        if float(x.max()) > 1.9:
            raise FloatingPointError("the simulation broke")
        return 0.5 * x + 1

    with pytest.raises(FloatingPointError) as caught:
        fixed_point(evaluate, 0 * TWO, method=Plain())
    checkpoint = caught.value.checkpoint
    limit = fixed_point(lambda x: 0.5 * x + 1, 0 * TWO, method=Plain(), resume=checkpoint)
    assert torch.allclose(limit.value, 2 * TWO, atol=1e-5)


@pytest.mark.parametrize(
    "make, error, says",
    [
        (lambda: templates.estimate(torch.zeros(0, 8), templates.CyclicShifts()), ValueError, "no signals"),
        (lambda: BradleyTerry().fit(torch.zeros(0, 0)), ValueError, "player"),
        (lambda: BradleyTerry().fit(torch.zeros(1, 1)), ValueError, "player"),
        (lambda: BradleyTerry().fit(torch.zeros(3, 3)), ValueError, "prior"),
        (lambda: PIGN(3, 2)(torch.zeros(2, 3), torch.zeros(2, 1)), ValueError, "int64"),
        (lambda: LowerPattern.from_matrix(sparse.csr_array((0, 0))), ValueError, "at least one row"),
        (lambda: solve_linear(-sparse.eye_array(3).tocsr(), torch.ones(3)), ValueError, "positive definite"),
        (lambda: solve_linear(sparse.csr_array((3, 3)), torch.ones(3)), ValueError, "positive definite"),
    ],
)
def test_data_of_which_there_is_no_limit_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_limit_far_from_the_first_state_is_one():
    for factor in (1e3, 1e7):
        limit = fixed_point(lambda x, factor=factor: 0.5 * x + factor, 0 * TWO)
        assert torch.allclose(limit.value, 2 * factor * TWO, rtol=1e-5)
    grown = fixed_point(lambda x: x + 0.5 * x * (1 - x), 1e-12 * TWO)  # from near a limit that repels
    assert torch.allclose(grown.value, TWO, atol=1e-4) or float(grown.value.abs().max()) < 1e-6
    assert grown.status.done
