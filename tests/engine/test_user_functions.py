"""What users' functions do that a solve must notice: work in place, autocast, a closed form of something else."""

import pytest
import torch
from torch import nn

from forerun import Full, Newton, Process, Secant, Sequential, Sliding, Status, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.methods import JacobiGaussSeidel
from forerun.engine.numerics.in_place import ChangedInPlace
from forerun.engine.process import Affine
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

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


class EditsUnseen(Process):
    """Works in place where no version of a tensor tells."""

    length = 24

    def __init__(self, what):
        self.what = what

    def observe(self, state):
        return state.mul_(1.01) if self.what == "observe" else state

    def evaluate(self, steps, inputs):
        if self.what == "evaluate":
            inputs.data.mul_(1.01)
        if self.what == "numpy":
            inputs.numpy()[:] += 0.01
        return 0.1 * torch.cos(inputs)

    def advance(self, step, state, output):
        if self.what == "advance":
            state.data.add_(output)
            return state
        return state + output


@pytest.mark.parametrize("inference", [False, True], ids=["no_grad", "inference_mode"])
@pytest.mark.parametrize("what", ["observe", "evaluate", "numpy", "advance"])
def test_work_in_place_is_named_where_no_version_tells(what, inference):
    with torch.inference_mode(inference), pytest.raises(ChangedInPlace, match=r" modified .* in place"):
        solve(EditsUnseen(what), START.clone(), window=Full())


def test_containers_that_advance_changes_in_place_are_named():
    class Replaces(Edits):
        def advance(self, step, state, output):
            state["x"] = state["x"] + output
            return state

    class Appends(Edits):
        def advance(self, step, state, output):
            state["steps"].append(step)
            return {"x": state["x"] + output, "steps": state["steps"]}

    for process, state in ((Replaces("nothing"), {"x": START}), (Appends("nothing"), {"x": START, "steps": []})):
        with pytest.raises(ChangedInPlace, match="advance modified its arguments in place at step 0"):
            solve(process, state, window=Full())


def test_one_buffer_for_all_outputs_is_named():
    buffer = torch.zeros(64, 4)

    class Reuses(Edits):
        def evaluate(self, steps, inputs):
            return torch.cos(inputs, out=buffer[: len(inputs)])

        def advance(self, step, state, output):
            return state + 0.1 * output

        def observe(self, state):
            return state

    with pytest.raises(ChangedInPlace, match="one buffer again and again"):
        solve(Reuses("nothing"), START.clone(), window=Sliding(6))


@pytest.mark.parametrize("edit", [lambda event: event.state.mul_(2), lambda event: event.update.inputs.zero_()])
def test_a_callback_that_works_in_place_is_named(edit):
    process = Process.from_step(lambda i, x: 0.9 * x + 0.1 * torch.sin(i + x), 24)
    with pytest.raises(ChangedInPlace, match="the callback modified the event of step"):
        solve(process, START, window=Sliding(6), callback=edit)


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64), (torch.float64, torch.float32)])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_outputs_of_another_float_dtype_than_the_inputs(dtypes, method):
    inputs_dtype, outputs_dtype = dtypes

    class Narrow(Process):
        length = 24

        def evaluate(self, steps, inputs):
            return torch.cos(inputs).to(outputs_dtype)

        def advance(self, step, state, output):
            return state + 0.1 * output.to(state.dtype)

    answer = solve(Narrow(), START.to(inputs_dtype), method=method, window=Sliding(6), tolerance=1e-5)
    torch.testing.assert_close(answer.state, run_plain_loop(Narrow(), START.to(inputs_dtype)), rtol=0, atol=2e-5)


class Average(nn.Module):
    """Looks at all rows that it is given."""

    def forward(self, x):
        return x + 0.1 * x.mean(0, keepdim=True)


class Counter(nn.Module):
    """Counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + 0.01 * self.calls


def first_step_only(steps, x):
    return x + 0.1 * torch.cos(x + torch.linspace(0, 1, 24)[steps[0]])


class Calls(Process):
    """A network that no process may have: what it gives for a step is not that step's alone."""

    length = 24

    def __init__(self, network):
        self.network = network

    def evaluate(self, steps, inputs):
        return torch.cos(self.network(inputs))

    def advance(self, step, state, output):
        return state + 0.1 * output


@pytest.mark.parametrize("window", [Full(), Sliding(6)], ids=str)
@pytest.mark.parametrize("network", [Average(), Counter(), nn.Dropout(0.3)], ids=lambda network: type(network).__name__)
def test_steps_that_are_not_evaluated_by_themselves_are_named_and_taken_in_order(network, window):
    torch.manual_seed(0)
    with pytest.warns(WitnessWarning, match=r"something else for step \d+ alone than among .*network.eval"):
        answer = solve(Calls(network), START, window=window)
    assert answer.status is Status.SEQUENTIAL
    assert answer.rounds == 24
    if isinstance(network, Average):
        assert torch.equal(answer.state, run_plain_loop(Calls(network), START))
    with pytest.raises(WitnessDisagrees, match="one a call"):
        solve(Calls(network), START, window=window, strict=True)


def test_a_batched_step_that_reads_one_number_of_all_is_named():
    process = Process.from_step(first_step_only, 24, batched=True)
    with pytest.warns(WitnessWarning, match="alone than among"):
        answer = solve(process, START, window=Full())
    assert torch.equal(answer.state, run_plain_loop(process, START))


def test_a_network_in_half_precision_is_not_taken_for_a_mixing_one(monkeypatch):
    def evaluate(self, steps, inputs):
        weights = torch.linspace(-1, 1, 16).reshape(4, 4)
        noise = 3e-4 * torch.sin(1e4 * inputs) * len(inputs)  # kernels that round otherwise in other batches
        return torch.cos(inputs @ weights) + (noise if len(inputs) > 1 else 0)

    monkeypatch.setattr(Calls, "evaluate", evaluate)
    answer = solve(Calls(None), START, window=Full(), tolerance=0.1)
    assert answer.witnessed == 1


def test_a_process_that_is_known_to_agree_is_evaluated_no_more_than_it_needs():
    process = Process.from_step(lambda i, x: 0.9 * x + torch.sin(i + x), 24)
    first, second = (solve(process, START, window=8, check=False) for _ in range(2))
    assert (first.witnessed, second.witnessed) == (1, 0)
    assert solve(process, START, window=8, witness=False).witnessed == 0


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
