"""Interrupts and errors at any place: what is finished stays, and errors reach the user as they are."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from engine.problems import lorenz

from forerun import Absolute, Full, NotConverged, Process, Secant, Sequential, Sliding, Status, solve
from forerun.engine.guesses import Guess, Hold, Probe
from forerun.engine.run_guard import RunGuard


class Stops(Process):
    """A contraction that raises an error in one call of a function, counted over all steps."""

    length = 50

    def __init__(self, function=None, call=0, error=None):
        self.function, self.call, self.error, self.calls = function, call, error, 0

    def count_call(self, function):
        self.calls += function == self.function
        if function == self.function and self.calls == self.call:
            raise self.error

    def evaluate(self, steps, inputs):
        self.count_call("evaluate")
        return torch.cos(inputs + steps.to(inputs).unsqueeze(-1))

    def advance(self, step, state, output):
        self.count_call("advance")
        return 0.8 * state + 0.2 * output


START = torch.linspace(-1, 1, 3, dtype=torch.float64)
TRUTH = solve(Stops(), START, method=Sequential(), path=True)


@pytest.mark.parametrize("function", ["evaluate", "advance"])
@pytest.mark.parametrize("call", [1, 2, 20, 33, 47])
def test_an_interrupt_in_the_plain_loop_keeps_every_finished_step(function, call):
    part = solve(Stops(function, call, KeyboardInterrupt()), START, method=Sequential(), path=True)
    assert part.status is Status.INTERRUPTED
    assert part.step == call - 1
    assert torch.equal(part.state, TRUTH.path[call - 1])
    assert len(part.path) == call
    rest = solve(Stops(), START, method=Sequential(), resume=part.checkpoint)
    assert torch.equal(rest.state, TRUTH.state)


def test_an_error_in_the_plain_loop_keeps_every_finished_step():
    with pytest.raises(ZeroDivisionError) as caught:
        solve(Stops("evaluate", 20, ZeroDivisionError("mine")), START, method=Sequential())
    assert caught.value.checkpoint.step == 19
    assert torch.equal(caught.value.checkpoint.state, TRUTH.path[19])


class AsksFirst(Guess):
    """Evaluates the first step before the first window."""

    def enter(self, prefix, stop, evaluate):
        row = prefix.observe_state().unsqueeze(0)
        evaluate(torch.tensor([prefix.start]), row)
        return Hold().enter(prefix, stop, evaluate)


@pytest.mark.parametrize("guess", [Probe(8), AsksFirst()], ids=lambda guess: type(guess).__name__)
def test_an_interrupt_of_a_guess_that_evaluates_returns_a_solution(guess):
    part = solve(Stops("evaluate", 1, KeyboardInterrupt()), START, window=Full(), guess=guess)
    assert (part.status, part.step) == (Status.INTERRUPTED, 0)
    assert torch.equal(part.state, START)
    with pytest.raises(ZeroDivisionError) as caught:
        solve(Stops("evaluate", 1, ZeroDivisionError()), START, window=Full(), guess=guess)
    assert caught.value.checkpoint.step == 0


class Sealed(Exception):
    """Lets no attribute be set."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


@dataclass(frozen=True)
class FrozenRecord(Exception):
    """A frozen dataclass, which refuses attributes too."""

    what: str = "mine"


class ReadOnly(Exception):
    """Has a checkpoint of its own already."""

    checkpoint = property(lambda self: None)


@pytest.mark.parametrize(
    "error",
    [StopIteration("mine"), StopAsyncIteration(), GeneratorExit(), SystemExit(3), Sealed(), FrozenRecord(), ReadOnly()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["evaluate", "advance", "callback"])
@pytest.mark.parametrize("method", [Secant(), Sequential(steps_per_round=4)], ids=lambda method: type(method).__name__)
def test_odd_errors_reach_the_user_as_they_are(error, place, method):
    def fail(event):
        if event.step > 9:
            raise error

    with pytest.raises(type(error)) as caught:
        solve(Stops(place, 12, error), START, method=method, window=Sliding(4), callback=fail)
    assert caught.value is error
    assert vars(error)["checkpoint"].step > 0
    assert "steps are accepted" in error.__notes__[-1]


class Broken:
    """A run that cannot say where it stands."""

    def end(self, status):
        self.status = status

    def checkpoint(self):
        raise RuntimeError("the device is gone")


def test_a_checkpoint_that_cannot_be_made_does_not_hide_the_error():
    with pytest.raises(ZeroDivisionError) as caught, RunGuard(Broken()):
        raise ZeroDivisionError
    assert "could not be kept: RuntimeError: the device is gone" in caught.value.__notes__[-1]


def test_not_converged_goes_to_other_processes():
    process = Process.from_step(lambda i, x: torch.where(i == 12, torch.nan, 0.9 * x), 20)
    with pytest.raises(NotConverged) as caught:
        solve(process, START, window=Sliding(5), path=True)
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert str(error) == str(caught.value)
        assert error.solution.step == 12
        assert torch.equal(error.solution.path[-1], caught.value.solution.state)


def test_a_kept_path_is_copied_once():
    process = Process.from_step(lambda i, x: 3.9 * x * (1 - x), 600, batched=True)
    start = torch.tensor([0.3, 0.4], dtype=torch.float64)
    answer = solve(process, start, window=Sliding(4), check=False, path=True, tolerance=1e-9)
    truth = solve(process, start, method=Sequential(), path=True)
    assert len(answer.path) == 601
    assert torch.equal(answer.path[-1], answer.state)
    torch.testing.assert_close(torch.stack(answer.path[:20]), torch.stack(truth.path[:20]), rtol=0, atol=1e-6)
    assert torch.equal(answer.states[-601], start)
    with pytest.raises(IndexError):
        answer.states[601]


def test_a_path_that_the_check_sent_back_has_every_state_once():
    process, state = lorenz(300)
    answer = solve(process, state, window=Sliding(16), tolerance=Absolute(1e-4), path=True)
    assert any("went back" in note for note in answer.notes)
    assert len(answer.path) == 301
    truth = solve(process, state, method=Sequential(), path=True)
    torch.testing.assert_close(torch.stack(answer.path), torch.stack(truth.path), rtol=0, atol=1e-2)


def test_the_log_of_a_wide_window_stays_small():
    process = Process.from_step(lambda i, x: 3.9 * x * (1 - x), 500, batched=True)
    answer = solve(process, torch.tensor([0.3]), window=Sliding(400), check=False)
    sizes = [entry.residuals.itemsize * len(entry.residuals) for entry in answer.log]
    assert max(sizes) <= 4 * 400
