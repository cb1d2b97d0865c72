"""fixed_point: every method on maps whose limits are known, and what a limit says of itself."""

import pytest
import torch
from limits.maps import DOUBLE, MAPS, linear, normal, template, value_iteration
from torch.utils import _pytree as pytree

from forerun import Absolute, Map, Relative, fixed_point
from forerun.engine.tolerance import largest_element
from forerun.limits import (
    Aitken,
    AndersonMixing,
    AndersonTypeOne,
    AutoMixing,
    Averaged,
    Banach,
    BatchMap,
    Broyden,
    Cycled,
    FilteredAnderson,
    Halpern,
    Levin,
    LimitOptions,
    LimitStatus,
    Monotone,
    NewtonKrylov,
    NoLimit,
    Periodic,
    Plain,
    Shanks,
    Unguarded,
)

METHODS = {
    "plain": Plain(),
    "averaged": Averaged(0.7),
    "halpern": Halpern(),
    "anderson": AndersonMixing(5),
    "damped anderson": AndersonMixing(3, share=0.5),
    "type one": AndersonTypeOne(),
    "filtered": FilteredAnderson(),
    "auto": AutoMixing(),
    "periodic": Periodic(),
    "broyden": Broyden(),
    "newton": NewtonKrylov(),
    "shanks": Cycled(Shanks(), 5),
    "aitken": Cycled(Aitken(), 3),
    "levin": Cycled(Levin(), 6),
}
SLOW = {("barely contractive", "halpern")}  # its residual falls as 1 / k before it restarts, and that is far from 1e-11
ELEMENTWISE = {"aitken", "levin"}  # where elements act on each other, element by element is not to be trusted


def farthest(one, other):
    """The largest difference between the tensors of two trees; plain values aside."""
    pairs = zip(tensors(one), tensors(other), strict=True)
    return max(float((a.to(DOUBLE) - b.to(DOUBLE)).abs().max()) for a, b in pairs)


def tensors(tree):
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MAPS)
def test_every_method_finds_the_limit(name, method, dtype):
    if (name, method) in SLOW or (method in ELEMENTWISE and name not in {"cosine", "value iteration", "tanh layer"}):
        pytest.skip("not for this map")
    known = MAPS[name](dtype)
    accuracy = 1e-2 if dtype == torch.float32 else 1e-8
    tolerance = Relative(accuracy / 1000, floor=accuracy / 1000)
    limit = fixed_point(known.map, known.x0, method=METHODS[method], tolerance=tolerance)
    assert limit.status is LimitStatus.CONVERGED
    scale = max(1.0, max(float(leaf.abs().max()) for leaf in tensors(known.limit)))
    assert farthest(limit.value, known.limit) <= accuracy * scale
    assert all(leaf.dtype == dtype for leaf in tensors(limit.value))


def piecewise_constant(dtype):
    """Templates: a residual of zero all at once, and many limits."""
    known = template(dtype, signals=100, length=16)
    return known.map, known.x0


def cycling(dtype):
    """A quarter turn about one: the plain iteration comes back after four steps, for ever."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=dtype)
    return Map.from_function(lambda x: turn @ (x - 1) + 1), torch.tensor([3.0, 0.5], dtype=dtype)


def stairs(dtype):
    """Steps of a sixty-fourth, which mixtures jump over."""
    return Map.from_function(lambda x: torch.round(0.93 * x * 64) / 64), 20 * normal(8, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [piecewise_constant, cycling, stairs])
def test_where_acceleration_hurts_no_method_claims_what_is_not_so(make, method, dtype):
    user_map, x0 = make(dtype)
    limit = fixed_point(user_map, x0, method=METHODS[method], tolerance=1e-4, max_evaluations=200, throw=False)
    value = user_map.evaluate(limit.value)
    if limit.status.done:
        # the value of a point whose residual is small, and is one itself where the map is smooth
        assert farthest(value, limit.value) < (1e-3 if make is cycling else 0.2)
    else:
        assert limit.status in {LimitStatus.CYCLE, LimitStatus.OUT_OF_BUDGET, LimitStatus.STALLED}
        assert bool(limit.value.isfinite().all())
    if method == "plain":
        assert (limit.status is LimitStatus.CYCLE) == (make is cycling)


def test_anderson_needs_far_fewer_evaluations():
    known = value_iteration(discount=0.99)
    plain, mixed = (
        fixed_point(known.map, known.x0, method=method, tolerance=1e-6) for method in (Plain(), AndersonMixing(5))
    )
    assert plain.evaluations > 900
    assert mixed.evaluations < 40


def test_plain_is_the_loop():
    known = linear()
    x = known.x0
    for _ in range(7):
        x = known.map.evaluate(x)
    limit = fixed_point(known.map, known.x0, method=Plain(), max_evaluations=9, throw=False)
    assert limit.status is LimitStatus.OUT_OF_BUDGET
    assert limit.evaluations == 9  # one of them to see that the map gives the same again
    assert torch.equal(limit.value, x)


def test_a_proven_bound_holds_and_is_smaller_than_the_tolerance():
    known = value_iteration(discount=0.95)
    tolerance = Absolute(1e-6, size=largest_element)
    for method in METHODS.values():
        limit = fixed_point(known.map, known.x0, method=method, tolerance=tolerance, certificate=Banach(0.95))
        assert limit.status is LimitStatus.CERTIFIED
        assert farthest(limit.value, known.limit) <= float(limit.error_bound) <= 1e-6


def test_a_constant_that_does_not_hold_is_refuted():
    known = linear(radius=0.9)
    limit = fixed_point(known.map, known.x0, method=Plain(), certificate=Banach(0.5))
    assert limit.status is LimitStatus.CONVERGED
    assert "Banach(0.5) does not hold" in limit.notes[0]


def test_the_estimate_of_the_error_is_of_its_size():
    known = linear(radius=0.95)
    for method in (Plain(), AndersonMixing(5)):
        limit = fixed_point(known.map, known.x0, method=method, tolerance=Absolute(1e-6, size=largest_element))
        error = farthest(limit.value, known.limit)
        assert error / 5 <= float(limit.error_bound) <= 50 * max(error, 1e-9)


def test_the_rate_is_measured():
    limit = fixed_point(lambda x: 0.8 * x + 1, torch.zeros(3, dtype=DOUBLE), method=Plain())
    assert float(limit.rate) == pytest.approx(0.8, abs=1e-4)


def test_problems_of_a_batch_end_one_by_one():
    rates = torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)
    b = normal(3, 4)
    limit = fixed_point(lambda x: rates[:, None] * x + b, torch.zeros_like(b), batch_dims=1, method=Plain())
    first, second, third = limit.iterations.tolist()
    assert first < second < third == len(limit.residuals)
    alone = fixed_point(lambda x: 0.5 * x + b[1], torch.zeros_like(b[1]), method=Plain())
    assert torch.equal(limit.value[1], alone.value)
    assert limit.residual.shape == (3,)


class Selected(BatchMap):
    """Affine maps, of which some can be evaluated alone; it counts what it was asked for."""

    def __init__(self, rates, b, calls):
        self.rates, self.b, self.calls = rates, b, calls

    def evaluate(self, x):
        self.calls.append(len(x))
        return self.rates[:, None] * x + self.b

    def select(self, problems):
        return Selected(self.rates[problems], self.b[problems], self.calls)


def test_problems_that_have_ended_are_not_evaluated_again():
    rates, b, calls = torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE), normal(3, 4), []
    limit = fixed_point(Selected(rates, b, calls), torch.zeros_like(b), method=AndersonMixing(2))
    assert calls[0] == 3
    assert sum(calls) == int(limit.iterations.sum()) + 3
    assert farthest(limit.value, b / (1 - rates[:, None])) < 1e-4


def test_one_bad_problem_does_not_spoil_the_others():
    rates = torch.tensor([0.5, 3.0, -1.0, float("nan")], dtype=DOUBLE)
    limit = fixed_point(
        lambda x: rates[:, None] * x + 1, torch.zeros(4, 2, dtype=DOUBLE), batch_dims=1, method=Plain(), throw=False
    )
    ends = [LimitStatus.CONVERGED, LimitStatus.DIVERGED, LimitStatus.CYCLE, LimitStatus.NOT_FINITE]
    assert list(limit.statuses) == ends
    assert limit.status is LimitStatus.NOT_FINITE
    assert limit.period.tolist() == [0, 0, 2, 0]
    assert float(limit.value[0, 0]) == pytest.approx(2.0, abs=1e-5)
    assert bool(limit.value.isfinite().all())


def test_what_is_no_limit_raises_with_all_that_there_is():
    with pytest.raises(NoLimit, match="goes round a cycle") as caught:
        fixed_point(lambda x: 1 - x, torch.zeros(2), method=Plain())
    assert caught.value.limit.status is LimitStatus.CYCLE
    assert "Averaged" in caught.value.limit.advice


def test_averaging_ends_the_cycle():
    limit = fixed_point(lambda x: 1 - x, torch.zeros(2, dtype=DOUBLE), method=Averaged(0.4))
    assert farthest(limit.value, torch.full((2,), 0.5)) < 1e-5


def test_a_state_that_is_a_limit_takes_one_evaluation():
    limit = fixed_point(lambda x: x * 1.0, torch.ones(3), repeatable=False)
    assert limit.evaluations == 1
    assert limit.status is LimitStatus.CONVERGED


def test_rounding_is_not_waited_for():
    known = linear(torch.float32)
    limit = fixed_point(known.map, known.x0, tolerance=0.0, throw=False)
    assert limit.status is LimitStatus.STALLED
    assert limit.evaluations < 200
    assert farthest(limit.value, known.limit) < 1e-4


def test_the_safeguard_takes_back_what_makes_matters_worse():
    def evaluate(x):  # linear far from the limit, steep beside it
        return torch.where(x > 1, 0.99 * x, -0.2 * x)

    x0 = torch.tensor([3.0, 2.0], dtype=DOUBLE)
    guarded = fixed_point(evaluate, x0, tolerance=1e-9)
    assert guarded.status is LimitStatus.CONVERGED
    assert farthest(guarded.value, torch.zeros(2)) < 1e-8


def test_a_merit_that_rises_is_taken_back():
    merits = []

    def merit(x):
        merits.append(float((x**2).sum()))
        return (x**2).sum()

    user_map = Map.from_function(lambda x: 0.9 * x.sin(), merit=merit)
    limit = fixed_point(user_map, normal(5), safeguard=Monotone(), tolerance=1e-9)
    assert limit.status is LimitStatus.CONVERGED
    with pytest.raises(ValueError, match="Monotone"):
        fixed_point(torch.cos, torch.ones(3), safeguard=Monotone())


def test_a_projection_keeps_accelerated_states_where_the_map_is_defined():
    def evaluate(x):
        assert bool((x >= 0).all()), "the map is called outside of its domain"
        return 0.5 * (x + 1e-3 / (x + 1e-3)) * torch.tensor([0.2, 1.0], dtype=DOUBLE)

    user_map = Map.from_function(evaluate, projection=lambda x: x.clamp_min(0))
    limit = fixed_point(user_map, torch.tensor([5.0, 5.0], dtype=DOUBLE), safeguard=Unguarded())
    assert limit.status is LimitStatus.CONVERGED


def test_options_are_one_object_or_keywords():
    options = LimitOptions(method=Plain(), tolerance=1e-2)
    loose = fixed_point(torch.cos, torch.tensor(1.0), options=options)
    tight = fixed_point(torch.cos, torch.tensor(1.0), options=options, tolerance=1e-4)
    assert loose.evaluations < tight.evaluations


def test_a_callback_sees_every_evaluation_and_stops():
    residuals = []

    def watch(event):
        residuals.append(float(event.residual))
        assert event.state.shape == (2,)
        return len(residuals) == 5

    limit = fixed_point(lambda x: 0.9 * x + 1, torch.zeros(2), method=Plain(), callback=watch)
    assert limit.status is LimitStatus.STOPPED
    assert residuals == list(limit.residuals)
    assert limit.evaluations == 6


def test_a_limit_describes_itself():
    limit = fixed_point(torch.cos, torch.tensor(1.0))
    assert "evaluations" in str(limit)
    assert "estimate" in repr(limit)


# Bad input.


@pytest.mark.parametrize(
    "keywords, error, says",
    [
        ({"method": 5}, TypeError, "method must be a LimitMethod"),
        ({"metod": Plain()}, TypeError, "did you mean method?"),
        ({"tolerance": -1.0}, ValueError, ">= 0"),
        ({"certificate": (1,)}, TypeError, "Banach"),
        ({"max_evaluations": 0}, ValueError, "pass 1 or more"),
        ({"options": 3}, TypeError, "LimitOptions"),
    ],
)
def test_wrong_options_are_refused(keywords, error, says):
    with pytest.raises(error, match=says):
        fixed_point(torch.cos, torch.ones(2), **keywords)


@pytest.mark.parametrize(
    "function, x0, error, says",
    [
        (lambda x: x[:1], torch.ones(2), ValueError, "another shape"),
        (lambda x: x.double(), torch.ones(2), ValueError, "another dtype"),
        (lambda x: [x], torch.ones(2), ValueError, "another structure"),
        (lambda x: x.mul_(0.5), torch.ones(2), ValueError, "in place"),
        (torch.cos, torch.ones(2, dtype=torch.int64), TypeError, "whole numbers"),
        (torch.cos, 1.0, TypeError, "holds no tensor"),
        (3, torch.ones(2), TypeError, "takes a Map or a function"),
    ],
)
def test_maps_that_keep_no_contract_are_refused(function, x0, error, says):
    with pytest.raises(error, match=says):
        fixed_point(function, x0)


def test_a_map_that_draws_random_numbers_is_refused():
    def evaluate(x):
        return 0.5 * x + torch.randn(3)

    with pytest.raises(ValueError, match="repeatable=False"):
        fixed_point(evaluate, torch.zeros(3))
    limit = fixed_point(evaluate, torch.zeros(3), repeatable=False, max_evaluations=100, throw=False)
    assert limit.status is LimitStatus.OUT_OF_BUDGET


def test_empty_states_and_batches_are_limits():
    assert fixed_point(torch.cos, torch.ones(0)).status is LimitStatus.CONVERGED
    limit = fixed_point(torch.cos, torch.ones(0, 3), batch_dims=1)
    assert limit.value.shape == (0, 3)
    assert limit.largest_residual == 0


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: AndersonMixing(0), "memory=0"),
        (lambda: AndersonMixing(share=0), "share=0"),
        (lambda: Averaged(0), "share=0"),
        (lambda: Banach(1.0), "contraction"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
