"""What must be carried exactly: integers of any size, states in half precision, rows without elements."""

import numpy as np
import pytest
import torch

from forerun import Full, Process, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.methods import Anderson, Jacobi, Newton, Picard, QuasiNewton, Secant, Sequential
from forerun.engine.process import Affine

METHODS = [Sequential(), Jacobi(), Picard(), Secant(), Anderson(Secant()), Newton(), QuasiNewton()]


def draw_numbers(length, multiplier, increment):
    return Process.from_step(lambda i, x: x * multiplier + increment, length)


@pytest.mark.parametrize(
    "method", [Sequential(), Secant(), Jacobi(), Picard()], ids=lambda method: type(method).__name__
)
@pytest.mark.parametrize(
    "process, start",
    [
        (draw_numbers(12, 22695477, 1), torch.tensor([5, -5], dtype=torch.int32)),
        (draw_numbers(12, 2862933555777941757, 3037000493), torch.tensor([[7, 2**62]])),
        (draw_numbers(12, 3, 1), torch.tensor(200, dtype=torch.uint8)),
        (Process.from_step(lambda i, x: x + 2**30, 9, increment=True), torch.tensor([2**60 + 1, 5])),
    ],
    ids=["int32", "int64", "uint8", "increments of int64"],
)
def test_integers_are_those_of_the_plain_loop(method, process, start):
    answer = solve(process, start, method=method, window=Full()).state
    truth = run_plain_loop(process, start)
    assert answer.dtype == truth.dtype
    assert torch.equal(answer, truth)


def test_one_integer_among_many_numbers_is_never_let_pass():
    class Flips(Process):
        """A thousand numbers that rest, and an integer that jumps once the first number has crossed a line."""

        length = 30

        def evaluate(self, steps, inputs):
            jumps = (inputs["x"][:, :1] > 0.5).long()
            return {"x": 0.05 * torch.ones_like(inputs["x"]), "n": jumps}

        def advance(self, step, state, output):
            return {"x": state["x"] + output["x"], "n": state["n"] + output["n"]}

    start = {"x": torch.zeros(1000, dtype=torch.float64), "n": torch.tensor([3])}
    answer = solve(Flips(), start, window=Full(), tolerance=0.1)
    assert torch.equal(answer.state["n"], run_plain_loop(Flips(), start)["n"])


class Creeps(Process):
    """Increments that are lost in the rounding of the state's dtype."""

    length = 60

    def evaluate(self, steps, inputs):
        return torch.full_like(inputs, 0.25)

    def advance(self, step, state, output):
        return state + output

    def affine(self, steps):
        return Affine.constant(steps, state=1.0, output=1.0)


@pytest.mark.parametrize("dtype, start", [(torch.bfloat16, 128.0), (torch.float16, 1024.0)])
def test_states_in_half_precision_are_rounded_at_every_step(dtype, start):
    state = torch.full((3,), start, dtype=dtype)
    assert torch.equal(solve(Creeps(), state, window=Full()).state, run_plain_loop(Creeps(), state))


class Grows(Process):
    """Plain growth of any state."""

    length = 20

    def __init__(self, batch_dims=0):
        self.batch_dims = batch_dims

    def evaluate(self, steps, inputs):
        return 0.1 * inputs

    def advance(self, step, state, output):
        return state + output


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize(
    "shape, batch_dims", [((), 0), ((0,), 0), ((3, 0), 1), ((0, 3), 1), ((0, 0), 1), ((1,), 1), ((2, 0, 3), 2)], ids=str
)
def test_states_of_any_size_end_where_the_plain_loop_does(method, shape, batch_dims):
    process, state = Grows(batch_dims), torch.ones(shape, dtype=torch.float64)
    answer = solve(process, state, method=method, window=Full(), tolerance=1e-9)
    assert answer.status.done
    torch.testing.assert_close(answer.state, run_plain_loop(process, state), rtol=0, atol=1e-8)


@pytest.mark.parametrize("value", [np.ones(3), float("nan"), "ball", None], ids=lambda value: type(value).__name__)
def test_plain_values_of_any_kind_are_carried(value):
    class Carries(Grows):
        def observe(self, state):
            return state["x"]

        def advance(self, step, state, output):
            return {"x": state["x"] + output, "plain": state["plain"]}

    answer = solve(Carries(), {"x": torch.ones(2), "plain": value}, window=Full())
    assert answer.state["plain"] is value
