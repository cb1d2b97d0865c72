"""What users' functions do that a solve must notice: work in place, autocast, a closed form of something else."""

import pytest
import torch

from forerun import Full, Newton, Process, Secant, Sequential, Sliding, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.methods import JacobiGaussSeidel
from forerun.engine.numerics.in_place import ChangedInPlace
from forerun.engine.process import Affine

START = torch.linspace(-1, 1, 4)
METHODS = [Sequential(), Secant(), JacobiGaussSeidel(3)]


class Edits(Process):
    """Works in place on one of what it is given, from some step on."""

    length = 24

    def __init__(self, what, begin=0):
        self.what, self.begin = what, begin

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, inputs):
        if self.what == "inputs" and int(steps[-1]) >= self.begin:
            inputs.mul_(1.01)
        return 0.1 * torch.cos(inputs)

    def advance(self, step, state, output):
        if self.what == "output":
            output.mul_(2)
        if self.what == "state" and step >= self.begin:
            state["total"] += output
            return {"x": state["x"] + output, "total": state["total"]}
        return {"x": state["x"] + output, "total": state["total"] + output}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("window", [Full(), Sliding(4)], ids=str)
@pytest.mark.parametrize("what, begin", [("inputs", 0), ("inputs", 9), ("state", 0), ("state", 9), ("output", 0)])
def test_work_in_place_is_named(what, begin, window, method):
    state = {"x": START.clone(), "total": torch.zeros(4)}
    function = "evaluate" if what == "inputs" else "advance"
    if method == Sequential() and what == "state" and begin:
        pytest.skip("one look a round, at its first step: seen in the next one of a longer path")
    with pytest.raises(ChangedInPlace, match=rf"{function} modified .* in place.* for x") as caught:
        solve(Edits(what, begin), state, method=method, window=window)
    assert not hasattr(caught.value, "checkpoint")  # what was accepted may be changed too


def test_the_first_state_is_not_touched_by_a_sound_process():
    state = {"x": START.clone(), "total": torch.zeros(4)}
    solve(Edits("nothing"), state, window=Full())
    assert torch.equal(state["x"], START)
    assert not state["total"].any()


def test_inference_mode_solves_as_ever():
    with torch.inference_mode():
        state = {"x": START.clone(), "total": torch.zeros(4)}
        answer = solve(Edits("nothing"), state, window=Full(), tolerance=1e-6)
    truth = run_plain_loop(Edits("nothing"), {"x": START.clone(), "total": torch.zeros(4)})
    torch.testing.assert_close(answer.state["x"], truth["x"], rtol=0, atol=1e-5)


WEIGHT = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) / 4


class Casts(Process):
    """A linear map, whose output is taken back to the precision of the state."""

    length = 16

    def __init__(self):
        self.dtypes = set()

    def evaluate(self, steps, inputs):
        product = inputs @ WEIGHT
        self.dtypes.add(product.dtype)
        return product.to(inputs.dtype)

    def advance(self, step, state, output):
        return state + 0.3 * torch.tanh(output)


@pytest.mark.parametrize("method", [Sequential(), Secant(), Newton()], ids=lambda method: type(method).__name__)
def test_autocast_reaches_the_users_functions_and_nothing_else(method):
    process = Casts()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        truth = run_plain_loop(Casts(), START)
        answer = solve(process, START, method=method, window=Full(), tolerance=1e-6)
        assert torch.is_autocast_enabled("cpu")
    assert process.dtypes == {torch.bfloat16}
    assert answer.state.dtype == torch.float32
    torch.testing.assert_close(answer.state, truth, rtol=0, atol=1e-2)


@pytest.mark.parametrize("method", [Sequential(), Secant(), Newton()], ids=lambda method: type(method).__name__)
def test_states_that_change_their_dtype_under_autocast_are_refused_alike(method):
    process = Process.from_step(lambda i, x: x @ WEIGHT, 16, batched=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ValueError, match=r"bfloat16.*x\.to\(x0\.dtype\)"):
        solve(process, START, method=method, window=Full())


class Misstates(Process):
    """Gives a closed form that is not what `advance` does."""

    length = 30

    def evaluate(self, steps, inputs):
        return torch.cos(inputs)

    def advance(self, step, state, output):
        return 0.9 * state + 0.1 * output

    def affine(self, steps):
        return Affine.constant(steps, state=0.9, output=0.11)


@pytest.mark.parametrize("width", [4, 5000])
def test_a_closed_form_of_something_else_is_refused(width):
    with pytest.raises(ValueError, match=r"affine and advance disagree at step 0.*or return None"):
        solve(Misstates(), torch.ones(width), window=Full())
