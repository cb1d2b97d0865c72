"""What stands in a slot before its first evaluation."""

from dataclasses import replace

import pytest
import torch
from engine.problems import PROBLEMS

from forerun import Absolute, Full, Hold, Known, Picard, Process, QuasiNewton, Secant, Sequential, Sliding, solve
from forerun.engine.guesses import Copy, Extrapolate, Guess, KnownPrefix, Probe
from forerun.engine.methods import Jacobi, Method
from forerun.engine.numerics.tree import tree_map, tree_tensors
from forerun.engine.rows import Problem


class Sum(Process):
    """`x + o`, in order: the slots of a guess can be told by hand."""

    length = 12

    def evaluate(self, steps, inputs):
        return torch.ones_like(inputs) * (1.0 + steps.to(inputs).unsqueeze(-1))

    def advance(self, step, state, output):
        return state + output


START = torch.tensor([10.0, 20.0])


def never(*_):
    raise AssertionError("this guess needs no evaluation")


def prefix_of(*outputs):
    problem = Problem(Sum(), START)
    problem.evaluate(problem.step_range(0, 1), START.unsqueeze(0))
    rows = torch.tensor([[value, value] for value in outputs]) if outputs else None
    return KnownPrefix(problem, 3, START, rows)


def slots(guess, *outputs, stop=7, evaluate=never):
    states, inputs = guess.enter(prefix_of(*outputs), stop, evaluate)
    assert len(states) == len(inputs)
    for state, row in zip(states, inputs, strict=True):
        torch.testing.assert_close(state, row)
    return (inputs - START)[:, 0].tolist()


def test_hold_sweeps_on_with_the_last_output():
    assert slots(Hold(), 1.0, 5.0) == [0.0, 5.0, 10.0, 15.0]
    assert slots(Hold(), 1.0, 5.0, stop=4) == [0.0]
    assert slots(Hold()) == [0.0]  # nothing is known before the first round


def test_copy_repeats_the_state():
    assert slots(Copy(), 1.0, 5.0) == [0.0] * 4
    assert slots(Copy()) == [0.0] * 4


def test_copies_can_be_differentiated():
    process, state = PROBLEMS["contractive"]()
    found = solve(process, state, method=QuasiNewton(), guess=Copy(), window=Full(), tolerance=Absolute(1e-9))
    torch.testing.assert_close(found.state, solve(process, state, method=Sequential()).state)


def test_extrapolate_follows_a_damped_trend():
    # trend (5 - 1) / 2 = 2 a step, damped by a half: outputs 5 + 1, 5 + 1.5, 5 + 1.75
    assert slots(Extrapolate(span=4, decay=0.5), 1.0, 3.0, 5.0) == [0.0, 6.0, 12.5, 19.25]
    assert slots(Extrapolate(span=1, decay=0.5), 9.0, 3.0, 5.0) == [0.0, 6.0, 12.5, 19.25]
    assert slots(Extrapolate(), 5.0) == slots(Hold(), 5.0)


def test_probe_asks_a_few_steps_and_interpolates_between():
    asked = []

    def evaluate(steps, inputs):
        asked.append(steps.tolist())
        assert torch.equal(inputs, START.expand(len(steps), 2))
        return 10.0 * steps.to(inputs).unsqueeze(-1).expand(-1, 2)

    # the outputs of the steps 3 .. 8 are 30 .. 80, of which 3, 5 (rounded from 5.5) and 8 are asked
    assert slots(Probe(3), stop=9, evaluate=evaluate) == [0.0, 30.0, 70.0, 120.0, 180.0, 250.0]
    assert asked == [[3, 5, 8]]
    assert slots(Probe(3), 5.0) == slots(Hold(), 5.0)
    assert slots(Probe(3), stop=4) == [0.0]


def test_probe_may_ask_every_step():
    asked = []

    def evaluate(steps, inputs):
        asked.append(steps.tolist())
        return steps.to(inputs).unsqueeze(-1).expand(-1, 2)

    assert slots(Probe(None), stop=7, evaluate=evaluate) == [0.0, 3.0, 7.0, 12.0]
    assert asked == [[3, 4, 5]]
    assert slots(Probe(None), stop=4) == [0.0]


def test_probe_asks_nothing_where_the_window_is_narrow():
    known = Hold(torch.full((2,), 5.0))
    assert slots(Probe(3), stop=8) == slots(Hold(), stop=8)
    assert slots(Probe(3, known), stop=8) == slots(known, stop=8) == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_known_inputs_stand_in_their_slots():
    known = torch.arange(24.0).reshape(12, 2)
    states, inputs = Known(known).enter(prefix_of(1.0), 7, never)
    assert torch.equal(inputs, torch.cat([START.unsqueeze(0), known[4:7]]))
    assert len(states) == 4


@pytest.mark.parametrize("rows", [torch.ones(11, 2), torch.ones(2), torch.ones(12, 2).double(), (torch.ones(12, 2),)])
def test_known_inputs_that_do_not_fit_are_refused_before_anything_is_evaluated(rows):
    process = Sum()
    process.evaluate = never
    with pytest.raises(ValueError, match="Pass a leading axis of 12 steps"):
        solve(process, START, guess=Known(rows))


def path_of(problem):
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), path=True)
    seen = [process.observe(one) for one in truth.path[:-1]]
    leaves = [torch.stack(each) for each in zip(*map(tree_tensors, seen), strict=True)]
    found = iter(leaves)
    return process, state, truth, tree_map(lambda _: next(found), seen[0])


@pytest.mark.parametrize("method", [Picard(), Secant(), Jacobi()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("window", [Full(), Sliding(6)], ids=str)
def test_the_exact_path_is_accepted_at_once(problem, method, window):
    process, state, truth, inputs = path_of(problem)
    options = {"window": window, "tolerance": Absolute(1e-9), "check": False}
    found = solve(process, state, method=method, guess=Known(inputs), **options)
    for one, other in zip(tree_tensors(found.state), tree_tensors(truth.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)
    hidden = isinstance(method, Jacobi) and problem in {"momentum", "pair"}  # whose states no input can tell
    if not hidden:
        assert found.rounds == (1 if window == Full() else -(-process.length // 6))


@pytest.mark.parametrize("method", [Picard(), Secant(), Jacobi()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_garbage_costs_rounds_and_not_the_answer(problem, check, method):
    process, state, truth, inputs = path_of(problem)
    generator = torch.Generator().manual_seed(0)

    def garbled(leaf):
        noise = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        return leaf + noise.to(leaf.dtype) if leaf.is_floating_point() else leaf.flip(0)

    garbage = Known(tree_map(garbled, inputs))
    options = {"window": Sliding(8), "tolerance": Absolute(1e-10), "check": check}
    found = solve(process, state, method=method, guess=garbage, **options)
    for one, other in zip(tree_tensors(found.state), tree_tensors(truth.state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)
    assert found.rounds > 1


def test_new_slots_go_on_from_what_a_method_wants_evaluated():
    wanted, begun = [], []

    class Elsewhere(Method):
        def iterate(self, front, evaluate):
            found = Picard().iterate(front, evaluate)
            guesses = found.inputs.clone()
            guesses[2:] += 1e-4  # within the tolerance
            wanted.append(guesses[-1])
            return replace(found, guesses=guesses)

    class Watched(Guess):
        def enter(self, prefix, stop, evaluate):
            if prefix.outputs is not None:
                begun.append((len(wanted), prefix.state))
            return Copy().enter(prefix, stop, evaluate)

    process = Process.from_step(lambda i, x: torch.tanh(0.5 * x + 0.1 * i), 40)
    state = torch.ones(3, dtype=torch.float64)
    options = {"window": Sliding(7), "tolerance": Absolute(1e-3), "check": False}
    found = solve(process, state, method=Elsewhere(), guess=Watched(), **options)
    truth = solve(process, state, method=Sequential(), check=False)
    torch.testing.assert_close(found.state, truth.state, rtol=0, atol=1e-2)
    # where the whole window is accepted, they go on from its exact end
    assert any(torch.equal(begin, wanted[place - 1]) for place, begin in begun)
