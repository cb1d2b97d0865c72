"""The shipped checks of windows, guesses, tolerances and backends name what is wrong."""

from dataclasses import dataclass, field

import pytest
import torch

from forerun import Absolute, Full, Hold, Local, Sliding
from forerun.engine.backends import Backend
from forerun.engine.guesses import Guess
from forerun.engine.testing import ContractBroken, check_backend, check_guess, check_tolerance, check_window
from forerun.engine.tolerance import Tolerance
from forerun.engine.windows import Window


@dataclass(frozen=True)
class ChangedWindow(Window):
    """A window of another width for each call."""

    widths: list = field(default_factory=list)

    def width(self, log, length):
        self.widths.append(4)
        return len(self.widths)


class HalfWindow(Window):
    def width(self, log, length):
        return 2.5


class GreedyWindow(Window):
    def width(self, log, length):
        log.clear()
        return 2


@pytest.mark.parametrize(
    "window, says",
    [
        (ChangedWindow(), "for the same log; keep nothing in self"),
        (HalfWindow(), "width gave 2.5; give a whole number"),
        (GreedyWindow(), "width modified the log"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_window_is_named(window, says):
    with pytest.raises(ContractBroken, match=says):
        check_window(window)


@dataclass(frozen=True)
class ChangedGuess(Guess):
    """The last output held, with something changed."""

    change: str

    def enter(self, prefix, stop, evaluate):
        states, rows = Hold().enter(prefix, stop, evaluate)
        if self.change == "few":
            return states, rows[:0]
        if self.change == "row":
            return states, rows + 1.0
        if self.change == "state":
            prefix.state.add_(1.0) if isinstance(prefix.state, torch.Tensor) else None
            return states, rows
        return [torch.zeros_like(state) for state in states], rows


@pytest.mark.parametrize(
    "change, says",
    [
        ("few", "1 states and 0 rows; give one of each a step"),
        ("row", "the first row is not what is observed"),
        ("state", "enter modified the state"),
        ("zeros", "the first state is another than that of the prefix"),
    ],
)
def test_a_wrong_guess_is_named(change, says):
    with pytest.raises(ContractBroken, match=says):
        check_guess(ChangedGuess(change))


@dataclass(frozen=True)
class ChangedTolerance(Tolerance):
    """An absolute tolerance, with another norm or threshold."""

    norms: object = Absolute().norm
    value: float = 1e-3

    def norm(self, steps, moves, inputs):
        return self.norms(steps, moves, inputs)

    def threshold(self):
        return self.value


NORM = Absolute().norm


@pytest.mark.parametrize(
    "tolerance, says",
    [
        (ChangedTolerance(lambda steps, moves, inputs: moves), "norm gave a shape of"),
        (ChangedTolerance(lambda steps, moves, inputs: 0 * NORM(steps, moves, inputs)), "is not positive"),
        (ChangedTolerance(lambda steps, moves, inputs: NORM(steps, moves, inputs).sign()), "no larger size"),
        (ChangedTolerance(lambda steps, moves, inputs: NORM(steps, moves, inputs) + 1), "did not move"),
        (
            ChangedTolerance(lambda steps, moves, inputs: NORM(steps, moves, inputs) * len(steps)),
            "measure every step by itself",
        ),
        (ChangedTolerance(lambda *rows: NORM(*rows).nan_to_num(0.0)), "a move of nan passes"),
        (ChangedTolerance(value=-1.0), "threshold gave -1.0"),
    ],
)
def test_a_wrong_tolerance_is_named(tolerance, says):
    with pytest.raises(ContractBroken, match=says):
        check_tolerance(tolerance)


class ReversingBackend(Backend):
    def evaluate(self, call, steps, inputs, rest):
        outputs, timing = Local().evaluate(call, steps, inputs, rest)
        return outputs.flip(0), timing


def test_a_wrong_backend_is_named():
    with pytest.raises(ContractBroken, match="keep their order"):
        check_backend(ReversingBackend())


def test_right_ones_pass():
    for window in (Full(), Sliding(2)):
        check_window(window)
    check_guess(Hold())
    check_tolerance(Absolute())
    check_backend(Local())
