"""Processes from plain functions."""

import pytest
import torch

from forerun import Absolute, Full, Newton, Process, Sequential, Sliding, solve
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
