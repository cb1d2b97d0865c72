"""The shipped checks pass what is right and name what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from engine.problems import PROBLEMS

from forerun import Affine, Anderson, Newton, Picard, Process, QuasiNewton, Secant, Sequential
from forerun.engine.methods import (
    Damped,
    Elk,
    GaussSeidel,
    Jacobi,
    JacobiGaussSeidel,
    Method,
    Parareal,
    PicardGaussSeidel,
    SlopeMethod,
    WindowState,
    WindowUpdate,
)
from forerun.engine.testing import ContractBroken, check_method, check_process


@pytest.mark.parametrize("problem", PROBLEMS)
def test_right_processes_pass(problem):
    check_process(*PROBLEMS[problem](), steps=6)


METHODS = [
    Sequential(),
    Jacobi(),
    Picard(),
    Secant(),
    QuasiNewton(),
    Newton(),
    Damped(Newton(), factor=0.5, bound=1.0),
    Anderson(Secant()),
    Parareal(3),
    GaussSeidel(4),
    JacobiGaussSeidel(3),
    PicardGaussSeidel(3),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_right_methods_pass(method):
    check_method(method)


def test_methods_that_ask_for_more_are_checked_on_what_they_can_do():
    check_method(Elk(), problems=[PROBLEMS["increments"](), PROBLEMS["contractive"]()])
    with pytest.raises(ValueError, match="method=Damped"):
        check_method(Elk())


class Wrong(Process):
    length = 8

    def evaluate(self, steps, inputs):
        return torch.sin(inputs)

    def advance(self, step, state, output):
        return state + output


class InPlace(Wrong):
    def advance(self, step, state, output):
        return state.add_(output)


class Noisy(Wrong):
    def evaluate(self, steps, inputs):
        return torch.sin(inputs) + torch.randn_like(inputs)


class Mixing(Wrong):
    def evaluate(self, steps, inputs):
        return torch.sin(inputs) + inputs.sum(0)


class Fickle(Wrong):
    def advance(self, step, state, output):
        return state + torch.randn_like(output)


class Crooked(Wrong):
    def affine(self, steps):
        return Affine.constant(steps, state=1.0, output=2.0)


class Observing(Wrong):
    def observe(self, state):
        return state.mul_(0.5)


class Random(Wrong):
    def observe(self, state):
        return state + torch.rand_like(state)


class Greedy(Wrong):
    def evaluate(self, steps, inputs):
        return inputs.sin_()


class Output(Wrong):
    def advance(self, step, state, output):
        return output.add_(state)


class Contiguous(Wrong):
    def evaluate(self, steps, inputs):
        numbers = steps[0] + torch.arange(len(steps))
        return torch.sin(inputs) + numbers.unsqueeze(-1)


class Remembering(Wrong):
    """Counts its calls."""

    calls = 0

    def advance(self, step, state, output):
        self.calls += 1
        return state + output * self.calls


class Normalising(Wrong):
    """Sees the other samples of its batch."""

    batch_dims = 1

    def evaluate(self, steps, inputs):
        return inputs - inputs.mean(1, keepdim=True)


class Stateful(Wrong):
    """Has a closed form, of more than its input."""

    def observe(self, state):
        return state[:1]

    def evaluate(self, steps, inputs):
        return inputs

    def affine(self, steps):
        return Affine.constant(steps, state=1.0, output=1.0)


class Single(Wrong):
    """Its coefficients are rounded to single precision."""

    def advance(self, step, state, output):
        return 0.9 * state + output

    def affine(self, steps):
        return Affine(state=torch.full((len(steps),), 0.9), output=torch.ones(len(steps)))


class First(Wrong):
    """Its closed form is right for the steps from 0 on only."""

    def advance(self, step, state, output):
        return state / (1 + step) + output

    def affine(self, steps):
        return Affine(state=1 / (1 + torch.arange(len(steps)).double()), output=torch.ones(len(steps)))


class One(Wrong):
    def affine(self, steps):
        return Affine(state=torch.ones(()), output=torch.ones(len(steps)))


@pytest.mark.parametrize(
    "process, says",
    [
        (InPlace(), "advance modified.*`state \\+ output`"),
        (Output(), "advance modified"),
        (Greedy(), "evaluate modified"),
        (Observing(), "observe modified"),
        (Random(), "observe gave two inputs"),
        (Noisy(), r"two answers.*forerun\.engine\.numerics\.noise"),
        (Mixing(), r"for its steps one by one.*steps\[k\]"),
        (Contiguous(), "every other step"),
        (Fickle(), "advance gave two states"),
        (Remembering(), "advance gave two states.*carry counters in the state"),
        (Normalising(), "batch_dims = 1.*or set batch_dims = 0"),
        (Crooked(), "affine and advance disagree"),
        (First(), "affine and advance disagree"),
        (Single(), "in the precision of the state"),
        (One(), r"affine gave state of shape \[\].*\(W,\)"),
        (Stateful(), "whose input is the state"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_breaks_the_contract_is_named(process, says):
    state = torch.linspace(0.5, 1.5, 6, dtype=torch.float64).reshape(3, 2)
    with pytest.raises(ContractBroken, match=says):
        check_process(process, state[0] if not process.batch_dims else state)


def test_low_precision_is_given_its_rounding():
    process = Process.from_step(lambda i, x: torch.tanh(x * 0.7 + i), 9, batch_dims=1)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        check_process(process, torch.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3))


def test_values_that_are_not_finite_are_equal_to_themselves():
    check_process(Process.from_step(lambda i, x: torch.log(x), 5), torch.tensor([0.0, -1.0, 2.0]))


def test_a_process_without_steps_cannot_be_checked():
    with pytest.raises(ValueError, match="nothing to check in 0 steps"):
        check_process(Process.from_step(lambda i, x: x, 0), torch.ones(3))


def test_what_does_not_fit_together_is_told_as_by_solve():
    class Shrinking(Wrong):
        def evaluate(self, steps, inputs):
            return inputs[..., :-1] if len(steps) > 1 else inputs

    with pytest.raises(ValueError, match="the output came as"):
        check_process(Shrinking(), torch.ones(3))


@dataclass(frozen=True)
class Dishonest(SlopeMethod):
    """Says that nothing moves."""

    def slopes(self, front, evaluate):
        return Picard().slopes(front, evaluate)


def test_a_dishonest_method_is_named(monkeypatch):
    honest = SlopeMethod.iterate

    def dishonest(self, front, evaluate):
        iterate = honest(self, front, evaluate)
        return resweep(iterate, moves=torch.zeros_like(iterate.moves))

    monkeypatch.setattr(Dishonest, "iterate", dishonest)
    with pytest.raises(ContractBroken, match="is not exact; moves must tell"):
        check_method(Dishonest())


@dataclass(frozen=True)
class Changed(Method):
    """Picard, with something changed in its iterate."""

    change: Callable[[WindowState, WindowUpdate], WindowUpdate]

    def iterate(self, front, evaluate):
        return self.change(front, Picard().iterate(front, evaluate))


def resweep(update, **fields):
    """Return the update with some fields of its sweep replaced."""
    return replace(update, sweep=replace(update.sweep, **fields))


def shifted(front, iterate):
    states = [state + 1e-3 for state in iterate.states]
    return resweep(iterate, states=states, inputs=torch.cat([iterate.inputs[:1], iterate.inputs[1:] + 1e-3]))


@pytest.mark.parametrize(
    "change, says",
    [
        (shifted, r"the first step is not exact; evaluate it at window_state\.inputs\[0\]"),
        (lambda _, iterate: resweep(iterate, moves=iterate.moves + 1e-13), "the first step moved"),
        (lambda _, iterate: resweep(iterate, inputs=iterate.inputs[1:]), "and W \\+ 1 inputs"),
        (
            lambda _, iterate: resweep(iterate, inputs=torch.cat([iterate.inputs[:1], 0 * iterate.inputs[1:]])),
            r"is not observe\(states\[k\]\)",
        ),
    ],
)
def test_an_iterate_that_breaks_the_contract_is_named(change, says):
    with pytest.raises(ContractBroken, match=says):
        check_method(Changed(change), problems=[PROBLEMS["contractive"]()])


class Learning(Method):
    """Another method after some calls."""

    calls = 0

    def iterate(self, front, evaluate):
        self.calls += 1
        return (Picard() if self.calls < 60 else Newton()).iterate(front, evaluate)


def test_a_method_that_remembers_is_named():
    with pytest.raises(ContractBroken, match=r"a second run differs.*window_state\.memory"):
        check_method(Learning(), problems=[PROBLEMS["contractive"]()])


def test_a_wrong_answer_is_told_by_its_size():
    """Moves that are almost zero pass for small ones, until the answers are compared."""

    def small(front, iterate):
        return resweep(iterate, moves=1e-13 * iterate.moves)

    with pytest.raises(ContractBroken, match="off the sequential one; moves must tell"):
        check_method(Changed(small))
