"""Learners' languages: laws held exactly by hypothesis, the functor against SGD, propositions, bad input."""

from fractions import Fraction

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forerun import Process, solve
from forerun.engine.testing import check_map
from forerun.exact.learners import (
    FiniteMachine,
    InvariantMap,
    MooreMachine,
    SimpleLens,
    SpaceMismatch,
    TypedLearner,
    are_equal,
    bias_learner,
    check_laws,
    find_safe_states,
    identity_learner,
    identity_lens,
    learner_of_module,
    lens_of_learner,
    machine_of_learner,
    machine_of_process,
    mirror_descent,
    process_of_learner,
    prove_invariant,
    scale_learner,
    search_violation,
    square_learner,
    train_by_sgd,
)
from forerun.exact.learners.machines import environment_of

numbers = st.fractions(min_value=-3, max_value=3, max_denominator=5)
atoms = st.one_of(
    st.builds(scale_learner, numbers, numbers),
    st.builds(bias_learner, numbers, numbers),
    st.just(square_learner()),
    st.just(identity_learner(("R",))),
)
learners = st.recursive(atoms, lambda inner: st.builds(TypedLearner.then, inner, inner), max_leaves=3)
lenses = st.builds(
    lambda w, v: SimpleLens(("R",), ("R",), lambda a: w * a + v, lambda a, b: a - w * (w * a + v - b)), numbers, numbers
)
PAIR = ("R", "R")


def agree(first, second, a, b):
    """Whether two learners are the same at their parameters, an input and a target: exactly."""
    return (first.source, first.target) == (second.source, second.target) and are_equal(first, second, a, b)


@settings(max_examples=30, deadline=None)
@given(learners, learners, learners, numbers, numbers)
def test_composition_is_associative_and_has_identities(f, g, h, a, b):
    assert agree(f.then(g).then(h), f.then(g.then(h)), a, b)
    identity = identity_learner(("R",))
    assert agree(identity.then(f), f, a, b)
    assert agree(f.then(identity), f, a, b)


@settings(max_examples=30, deadline=None)
@given(atoms, atoms, atoms, atoms, numbers, numbers, numbers, numbers)
def test_side_by_side_and_in_sequence_may_be_exchanged(f, g, h, k, a, b, c, d):
    """The interchange law, up to the order of parameters: (f; h) beside (g; k) is (f beside g); (h beside k)."""
    one = f.then(h).beside(g.then(k))
    other = f.beside(g).then(h.beside(k))
    p = f.parameters + h.parameters + g.parameters + k.parameters
    q = f.parameters + g.parameters + h.parameters + k.parameters
    n = [len(x.parameters) for x in (f, h, g, k)]
    assert one.parameters == p
    assert other.parameters == q
    assert one.implement(p, (a, b)) == other.implement(q, (a, b))
    assert one.request(p, (a, b), (c, d)) == other.request(q, (a, b), (c, d))
    ours, theirs = one.update(p, (a, b), (c, d)), other.update(q, (a, b), (c, d))
    cuts = [sum(n[:i]) for i in range(5)]
    f1, h1, g1, k1 = (ours[cuts[i] : cuts[i + 1]] for i in range(4))
    assert f1 + g1 + h1 + k1 == theirs


@settings(max_examples=20, deadline=None)
@given(learners, learners, learners, numbers, numbers, numbers, numbers, numbers, numbers)
def test_side_by_side_is_associative(f, g, h, a, b, c, x, y, z):
    assert agree(f.beside(g).beside(h), f.beside(g.beside(h)), (a, b, c), (x, y, z))
    nothing = identity_learner(())
    assert agree(f.beside(nothing), f, a, x)
    assert agree(nothing.beside(f), f, a, x)


def test_a_law_that_does_not_hold_is_seen():
    f, g = scale_learner(Fraction(2), Fraction(1)), bias_learner(Fraction(1), Fraction(1))
    assert all(check_laws((f, g, square_learner(), f), Fraction(1), Fraction(2)).values())
    assert not are_equal(f, g, Fraction(1), Fraction(2))
    lazy = TypedLearner(("R",), ("R",), f.parameters, f.implement, lambda p, a, b: p, f.request)
    assert not are_equal(f, lazy, Fraction(1), Fraction(3))


@settings(max_examples=20, deadline=None)
@given(lenses, lenses, lenses, numbers, numbers)
def test_lenses_compose_likewise(f, g, h, a, b):
    one, other = f.then(g).then(h), f.then(g.then(h))
    assert (one.view(a), one.put(a, b)) == (other.view(a), other.put(a, b))
    assert identity_lens(("R",)).then(f).put(a, b) == f.put(a, b) == f.then(identity_lens(("R",))).put(a, b)
    pair = f.beside(g).then(g.beside(h))
    assert pair.put((a, b), (b, a)) == (f.then(g).put(a, b), g.then(h).put(b, a))
    assert pair.target == PAIR


@settings(max_examples=20, deadline=None)
@given(learners, numbers, numbers)
def test_a_learner_is_a_parametrised_lens_and_a_moore_machine(f, a, b):
    lens, machine, p = lens_of_learner(f), machine_of_learner(f), f.parameters
    pa = (*p, a) if p else a
    assert lens.view(pa) == f.implement(p, a)
    assert lens.put(pa, b) == ((*f.update(p, a, b), f.request(p, a, b)) if p else f.request(p, a, b))
    shown = machine.readout(p)
    assert (shown.view(a), shown.put(a, b)) == (f.implement(p, a), f.request(p, a, b))
    assert machine.run([(a, b), (b, a)])[-1] == f.update(f.update(p, a, b), b, a)


@settings(max_examples=20, deadline=None)
@given(numbers, numbers, numbers, numbers, numbers)
def test_composition_is_the_chain_rule_in_rationals(w, v, rate, a, b):
    """`w a + v` by hand: one step of gradient descent on both at once."""
    f = scale_learner(w, rate).then(bias_learner(v, rate))
    error = w * a + v - b
    assert f.update((w, v), a, b) == (w - rate * error * a, v - rate * error)
    assert f.request((w, v), a, b) == a - error * w


def modules(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double(), nn.Sequential(nn.Linear(4, 2), nn.Softplus()).double()


def examples(count=5):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(count, 3, generator=generator, dtype=torch.float64),
            torch.randn(count, 2, generator=generator, dtype=torch.float64))  # fmt: skip


def test_modules_to_learners_is_a_functor_and_takes_the_steps_of_sgd():
    f, g = modules()
    whole = nn.Sequential(f, g)
    composed = learner_of_module(f, rate=0.1, target=("R^4",)).then(learner_of_module(g, rate=0.1, source=("R^4",)))
    inputs, targets = examples()
    single = learner_of_module(whole, rate=0.1)
    path = machine_of_learner(composed).run(zip(inputs, targets, strict=True))
    other = machine_of_learner(single).run(zip(inputs, targets, strict=True))
    trained = train_by_sgd(whole, inputs, targets, rate=0.1)
    for ours, theirs, plain in zip(path[-1], other[-1], trained, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)
    a, b, p = inputs[0], targets[0], composed.parameters
    torch.testing.assert_close(composed.request(p, a, b), single.request(p, a, b), rtol=0, atol=1e-13)


def test_training_is_a_process_that_runs_ahead():
    f, g = modules()
    learner = learner_of_module(nn.Sequential(f, g), rate=0.05)
    inputs, targets = examples(40)
    process = process_of_learner(learner, inputs, targets)
    solution = solve(process, learner.parameters, tolerance=1e-10, window=10)
    plain = machine_of_learner(learner).run(zip(inputs, targets, strict=True))[-1]
    for ours, theirs in zip(solution.value, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


def test_a_process_is_a_machine_that_evaluate_closes():
    process = Process.from_step(lambda i, x: torch.cos(x + 0.1 * i), 9)
    x0 = torch.ones(3, dtype=torch.float64)
    states = machine_of_process(process, x0).run_closed(environment_of(process), 9)
    torch.testing.assert_close(states[-1][1], solve(process, x0, tolerance=1e-12).value)
    assert [step for step, _ in states] == list(range(10))


def test_the_simplex_is_proven_for_mirror_descent_and_the_sphere_is_not():
    update, simplex = mirror_descent(3)
    x = list(update)
    assert prove_invariant(update, simplex).value is True
    assert "proven" in str(prove_invariant(update, simplex))
    sphere = prove_invariant(update, [sum(a**2 for a in x) - 1])
    assert sphere.value is None


def test_balance_of_two_layers_is_refuted_for_steps_of_gradient_descent():
    """`v^2 - w^2` is constant along the flow of `(v w a - b)^2`; a step of gradient descent leaves it."""
    f = scale_learner(Fraction(1), Fraction(1, 10)).then(scale_learner(Fraction(1), Fraction(1, 10)))
    machine = machine_of_learner(f)
    moves = [((Fraction(1), Fraction(s)), (Fraction(a), Fraction(2))) for s in (1, -1) for a in range(1, 4)]
    assert search_violation(machine, lambda p: p[0] == p[1], moves).value is None
    check = search_violation(machine, lambda p: p[0] ** 2 - p[1] ** 2 == 3, [((Fraction(2), Fraction(1)), (1, 3))])
    assert check.value is False
    assert "refuted" in str(check)
    state, example, after = check.counterexample
    assert after == machine.move(state, example)
    v, w, a, b, r = sympy.symbols("v w a b r")
    step = {v: v - r * (v * w * a - b) * w * a, w: w - r * (v * w * a - b) * v * a}
    assert prove_invariant(step, [v - w]).value is True
    assert prove_invariant(step, [v**2 - w**2 - 3]).value is None
    assert "not proven" in str(search_violation(machine, lambda p: p[0] == p[1], moves))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_safe_states_are_those_of_brute_force(data):
    count, inputs = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(st.integers(0, count - 1), min_size=inputs, max_size=inputs),
                              min_size=count, max_size=count))  # fmt: skip
    inside = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    result = find_safe_states(FiniteMachine(torch.tensor(rows)), torch.tensor(inside))
    safe = {state for state in range(count) if inside[state]}
    while True:
        smaller = {state for state in safe if set(rows[state]) <= safe}
        if smaller == safe:
            break
        safe = smaller
    assert result.value.tolist() == [state in safe for state in range(count)]
    assert [state < 0 for state in result.leaving.tolist()] == result.value.tolist()
    assert [state == 0 for state in result.leaving.tolist()] == [not value for value in inside]


def test_a_finite_machine_of_a_machine():
    machine = MooreMachine(lambda x: x, lambda x, d: x // 2 + d, 0)
    table = FiniteMachine.from_machine(machine, range(-4, 5), (-1, 0, 1))
    assert table.transitions.shape == (10, 3)
    inside = torch.tensor([True] * 9 + [False])
    safe = find_safe_states(table, inside)
    assert safe.value.tolist() == [True] * 9 + [False]
    check_map(InvariantMap(table), inside.double())


@pytest.mark.parametrize(
    "call, error, says",
    [
        (lambda: identity_learner(("R^2",)).then(square_learner()), SpaceMismatch, "begins in R;"),
        (lambda: identity_lens(()).then(identity_lens(PAIR)), SpaceMismatch, "ends in 1, .* R x R"),
        (lambda: learner_of_module(nn.Linear(1, 1), rate=0), ValueError, "rate=0.1"),
        (lambda: learner_of_module(nn.Linear(1, 1), rate=float("nan")), ValueError, "rate=0.1"),
        (lambda: learner_of_module(nn.BatchNorm1d(2), rate=0.1), ValueError, "call .eval"),
        (lambda: process_of_learner(square_learner(), torch.ones(2), torch.ones(3)), ValueError, "one of each"),
        (lambda: prove_invariant({}, []), ValueError, "such as"),
        (lambda: prove_invariant({}, [1 / sympy.Symbol("x")]), ValueError, "must be polynomials"),
        (lambda: FiniteMachine(torch.zeros(2, 2)), ValueError, "write .long"),
        (lambda: FiniteMachine(torch.tensor([[2], [0]])), ValueError, "add a state"),
        (lambda: find_safe_states(FiniteMachine(torch.tensor([[0]])), torch.ones(1)), ValueError, "torch.bool"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, error, says):
    with pytest.raises(error, match=says):
        call()
