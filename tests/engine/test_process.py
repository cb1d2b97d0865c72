"""Processes from plain functions."""

import pytest
import torch

from forerun import Absolute, Affine, Full, Newton, Picard, Process, Sequential, Sliding, solve
from forerun.engine.testing import check_process

START = torch.linspace(-1, 1, 6, dtype=torch.float64)


def plain_loop(step, state, length):
    for i in range(length):
        state = step(torch.tensor(i), state)
    return state


@pytest.mark.parametrize("increment", [False, True])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (2, 1, 3)])
def test_a_function_of_one_step_is_mapped(shape, increment):
    def step(i, x):
        return x + 0.1 * torch.sin(x + i)

    state = START[0].reshape(shape) if shape == () else START.reshape(shape)
    process = Process.from_step(step, 15, increment=increment)
    check_process(process, state)
    expected = plain_loop(step, state, 15)
    for method in (Sequential(), Newton()):
        found = solve(process, state, method=method, window=Full(), tolerance=Absolute(1e-10))
        torch.testing.assert_close(found.state, expected)


def test_a_tree_with_plain_values_is_mapped():
    def step(i, state):
        x, (name, rate), none = state
        assert (name, none) == ("ball", None)
        return (x["a"] * rate + i, (name, rate), none) if False else ({"a": x["a"] * rate + i}, (name, rate), none)

    state = ({"a": START}, ("ball", 0.5), None)
    process = Process.from_step(step, 15)
    check_process(process, state)
    found = solve(process, state, window=Sliding(4), tolerance=Absolute(1e-10))
    torch.testing.assert_close(found.state[0]["a"], plain_loop(step, state, 15)[0]["a"])
    assert found.state[1:] == (("ball", 0.5), None)


def test_a_plain_value_that_the_function_changes_is_refused():
    process = Process.from_step(lambda i, state: {"x": 0.5 * state["x"], "count": state["count"] + 1}, 9)
    with pytest.raises(ValueError, match="plain value"):
        solve(process, {"x": START, "count": 0})


def test_a_function_without_a_leading_axis_is_told_how_to_be_mapped():
    process = Process.from_step(lambda i, x: x.sum(0), 9, batched=True)
    with pytest.raises(ValueError, match=r"begin with that axis of 1.*Process\.from_step\(f, length\)"):
        solve(process, START)


class Decaying(Process):
    """A leaky integrator, whose factors are no binary fractions."""

    length = 40

    def evaluate(self, steps, inputs):
        return torch.sin(inputs)

    def advance(self, step, state, output):
        return 0.97 * state + 0.03 * output

    def affine(self, steps):
        return Affine.constant(steps, state=0.97, output=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_factors_keep_the_precision_of_the_run(dtype):
    process, state = Decaying(), START.to(dtype)
    check_process(process, state)
    truth = solve(process, state, method=Sequential())
    found = solve(process, state, method=Picard(), window=Full(), tolerance=Absolute(0.0))
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(found.state, truth.state, rtol=8 * rounding, atol=8 * rounding)


def test_constant_factors_are_one_number_a_step():
    maps = Affine.constant(torch.arange(3, 8), state=0.97, output=2.0, shift=START)
    assert maps.state.dtype == maps.output.dtype == torch.float64
    assert maps.state.tolist() == [0.97] * 5
    assert maps.output.tolist() == [2.0] * 5
    assert maps.shift is START
