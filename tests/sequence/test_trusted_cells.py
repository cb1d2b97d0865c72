"""scan gives what the loop over the user's own cell gives, values and gradients, or says a word and takes that loop."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from forerun import Newton, Picard, Sequential
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence import scan
from forerun.sequence.recurrent import torch_cells
from forerun.sequence.recurrent.path_defects import describe_coarse_path
from forerun.sequence.recurrent.plain_loop import PlainLoop

DOUBLE = torch.float64
LENGTH = 280  # long enough for a trial


def run_loop(cell, h, xs):
    states = []
    for x in xs:
        h = cell(h, x)
        states.append(h)
    return torch.stack(states)


def make_inputs(width=4, batch=2, length=LENGTH, dtype=DOUBLE):
    torch.manual_seed(1)
    return torch.randn(length, batch, width, dtype=dtype)


def make_zeros(batch=2, width=4):
    return torch.zeros(batch, width, dtype=DOUBLE)


def assert_loop(found, cell, h, xs):
    torch.testing.assert_close(found.hidden, run_loop(cell, h, xs), rtol=0, atol=1e-9)


class Scaled(nn.GRUCell):
    def forward(self, input, hx=None):
        return super().forward(input, hx) * 0.9


class StateFirst(nn.GRUCell):
    def forward(self, h, x):
        return super().forward(x, h)


def make_orthogonal():
    return parametrizations.orthogonal(nn.GRUCell(4, 4, dtype=DOUBLE), "weight_hh")


def make_pruned():
    cell = prune.l1_unstructured(nn.GRUCell(4, 4, dtype=DOUBLE), "weight_hh", amount=0.5)
    with torch.no_grad():
        cell.weight_hh_orig.mul_(2)
    return cell


def make_compiled():
    return torch.compile(nn.GRUCell(4, 4, dtype=DOUBLE), backend="eager")


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the compiler's own
@pytest.mark.parametrize("method", [None, Newton(), Picard()], ids=["chosen", "Newton", "Picard"])
@pytest.mark.parametrize(
    "make_cell",
    [make_orthogonal, make_pruned, make_compiled, lambda: Scaled(4, 4, dtype=DOUBLE)],
    ids=["orthogonal", "pruned", "compiled", "subclass"],
)
def test_cells_of_torch_keep_the_order_of_their_arguments_and_their_weights(make_cell, method):
    torch.manual_seed(0)
    cell = make_cell()
    found = scan(cell, make_zeros(), make_inputs(), method=method)
    assert_loop(found, lambda h, x: cell(x, h), make_zeros(), make_inputs())
    if method is not None:
        assert found.witnessed >= 3


def test_a_cell_that_names_its_state_first_gets_it_first():
    cell = StateFirst(4, 4, dtype=DOUBLE)
    assert_loop(scan(cell, make_zeros(), make_inputs(), method=Newton()), cell, make_zeros(), make_inputs())


def input_first(x, h):
    return torch.tanh(x + 0.5 * h)


@pytest.mark.parametrize(
    "cell, words",
    [(input_first, r"lambda h, x: cell\(x, h\)"), (nn.GRU(4, 4), r"RNN\(module\)"), (3, "function")],
)
def test_what_is_no_cell_of_state_and_input_is_refused(cell, words):
    with pytest.raises(TypeError, match=words):
        scan(cell, make_zeros(), make_inputs())


def test_a_closure_may_have_an_axis_of_samples_and_inputs_may_look_at_each_other():
    context = torch.linspace(-1, 1, 8, dtype=DOUBLE).reshape(2, 4)

    def cell(h, x):
        return torch.tanh(0.5 * h + x - x.mean(0) + context)

    found = scan(cell, make_zeros(), make_inputs(), method=Newton())
    assert_loop(found, cell, make_zeros(), make_inputs())
    assert found.log
    assert found.witnessed


def test_a_function_over_an_lstm_cell_runs_in_parallel():
    inner = nn.LSTMCell(4, 4, dtype=DOUBLE)
    start = [make_zeros(), make_zeros()]  # a list, where the cell returns a tuple
    found = scan(lambda state, x: inner(x, state), start, make_inputs(), method=Newton())
    expected, state = [], tuple(start)
    for x in make_inputs():
        state = inner(x, state)
        expected.append(state[0])
    torch.testing.assert_close(found.hidden[0], torch.stack(expected), rtol=0, atol=1e-9)
    assert found.log


def test_the_keys_of_a_state_may_come_in_another_order():
    def cell(h, x):
        fast = torch.tanh(0.9 * h["fast"] + x)
        return {"slow": 0.5 * h["slow"] + fast, "fast": fast}

    start = {"fast": make_zeros(), "slow": make_zeros()}
    found = scan(cell, start, make_inputs(), method=Newton())
    state = start
    for x in make_inputs():
        state = cell(state, x)
    torch.testing.assert_close(found.hidden["slow"][-1], state["slow"], rtol=0, atol=1e-9)
    assert found.log
    with pytest.raises(ValueError, match="a dict of the same keys"):
        scan(lambda h, x: {"fast": h["fast"], "new": h["slow"]}, start, make_inputs())


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, voltage):
        ctx.save_for_backward(voltage)
        return (voltage > 0).to(voltage)

    @staticmethod
    def backward(ctx, gradient):
        return gradient / (1 + ctx.saved_tensors[0].abs())


def clip_gradient(gradient):
    return gradient.clamp(-0.01, 0.01)


def mix_samples(h, x):
    return torch.tanh(h * (1 + h.mean(0, keepdim=True)) + x)


def multiply_samples(h, x):
    return torch.tanh(torch.full((2, 2), 0.3, dtype=DOUBLE) @ h + x)


def branch_on_values(h, x):
    if float(h.detach().sum()) < 3:
        return torch.tanh(0.5 * h + x)
    return 0.1 * h


def change_in_place(h, x):
    return h.mul_(0.5).add_(x)


def spike(h, x):
    return 0.5 * h + Spike.apply(x + h - 1)


def clip_in_backward(h, x):
    result = torch.tanh(0.9 * h + x)
    if result.requires_grad:
        result.register_hook(clip_gradient)
    return result


def differentiate_inside(h, x):
    with torch.enable_grad():
        value = h.detach().requires_grad_()
        (slope,) = torch.autograd.grad(torch.tanh(value).sum(), value)
    return 0.5 * slope * h + x


def checkpoint_step(h, x):
    return checkpoint(lambda h, x: torch.tanh(0.5 * h + x), h, x, use_reentrant=False)


REFUSED = [
    checkpoint_step,
    mix_samples,
    multiply_samples,
    branch_on_values,
    change_in_place,
    spike,
    clip_in_backward,
    differentiate_inside,
]


@pytest.mark.parametrize("method", [None, Newton()], ids=["chosen", "Newton"])
@pytest.mark.parametrize("cell", REFUSED)
def test_what_cannot_be_evaluated_together_is_the_loop_with_a_word(cell, method, monkeypatch):
    monkeypatch.setattr("forerun.sequence.recurrent.loop_choice.measure_newton_round", lambda job: 0.0)
    xs, start = make_inputs().requires_grad_(), make_zeros()
    with pytest.warns(WitnessWarning, match="The plain loop was taken"):
        found = scan(cell, start, xs, method=method)
    assert not bool(start.any())
    own = run_loop(lambda h, x: cell(h.clone(), x.clone()), start, xs)
    torch.testing.assert_close(found.hidden, own, rtol=0, atol=0)
    gradients = [torch.autograd.grad(states.sin().sum(), xs)[0] for states in (found.hidden, own)]
    torch.testing.assert_close(*gradients)
    with pytest.raises(WitnessDisagrees):
        scan(cell, start, xs, method=Newton(), strict=True)


def test_hooks_of_a_cell_run_at_every_step():
    cell, calls = nn.GRUCell(4, 4, dtype=DOUBLE), []
    cell.register_forward_hook(lambda module, inputs, output: calls.append(1))
    with pytest.warns(WitnessWarning, match="forward hook"):
        scan(lambda h, x: cell(x, h), make_zeros(), make_inputs(), method=Newton())
    assert len(calls) == LENGTH + 2  # twice on the first step, to see whether it answers alike


def test_a_wrong_replica_is_seen_on_a_later_step(monkeypatch):
    def step_wrong(self, hidden, prepared):
        u = self.weights.project_hidden(hidden)
        return torch.tanh(prepared + u.clamp(-0.4, 0.4))

    monkeypatch.setattr(torch_cells.ElmanCell, "step_rows", step_wrong)
    torch.manual_seed(0)
    cell = nn.RNNCell(4, 4, dtype=DOUBLE)
    with pytest.warns(WitnessWarning, match="gives another state than its replica at step"):
        found = scan(cell, make_zeros(), make_inputs(), method=Newton())
    assert_loop(found, lambda h, x: cell(x, h), make_zeros(), make_inputs())
    found = scan(cell, make_zeros(), make_inputs(), method=Newton(), witness=False)
    assert "witness=False" in found.notes[-1]


def test_a_buffer_that_a_call_moves_is_named():
    cell = parametrizations.spectral_norm(nn.GRUCell(4, 4, dtype=DOUBLE), "weight_hh")
    with pytest.raises(ValueError, match=r"changes its parametrizations.*call cell.eval\(\)"):
        scan(cell, make_zeros(), make_inputs())
    cell.eval()
    found = scan(cell, make_zeros(), make_inputs(), method=Newton())
    assert_loop(found, lambda h, x: cell(x, h), make_zeros(), make_inputs())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_and_autocast_are_the_loop(dtype):
    cell, xs = nn.GRUCell(4, 4).to(dtype), make_inputs(dtype=dtype)
    start = torch.zeros(2, 4, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):
        found = scan(cell, start, xs)
        assert torch.equal(found.hidden, run_loop(lambda h, x: cell(x, h), start, xs))
        with pytest.warns(WitnessWarning, match="rounds"):
            scan(cell, start, xs, method=Newton())


def test_transforms_of_torch_func_and_forward_derivatives_are_the_loop():
    xs = make_inputs(length=30)

    def cell(h, x):
        return torch.tanh(0.5 * h + x)

    def total(run, xs):
        return run(cell, make_zeros(), xs).sin().sum()

    def run_scan(cell, h, xs):
        return scan(cell, h, xs).hidden

    gradients = [torch.func.grad(lambda xs, run=run: total(run, xs))(xs) for run in (run_scan, run_loop)]
    torch.testing.assert_close(*gradients)
    tangents = [torch.func.jvp(lambda xs, run=run: total(run, xs), (xs,), (xs,))[1] for run in (run_scan, run_loop)]
    torch.testing.assert_close(*tangents)
    many = torch.stack([xs, 2 * xs])
    batched = torch.func.vmap(lambda xs: run_scan(cell, make_zeros(), xs))(many)
    torch.testing.assert_close(batched[1], run_loop(cell, make_zeros(), 2 * xs))


def test_no_samples_no_finite_values_and_inference_mode():
    cell = nn.GRUCell(4, 4, dtype=DOUBLE)
    assert scan(cell, make_zeros(0), make_inputs(batch=0)).hidden.shape == (LENGTH, 0, 4)
    start, xs = torch.ones(1, 1), torch.zeros(LENGTH, 1, 1)

    def explode(h, x):
        return 3 * h + x

    found = scan(explode, start, xs, method=Newton())
    assert "not finite" in found.notes[0]
    assert torch.equal(found.hidden, run_loop(explode, start, xs))
    with torch.inference_mode():
        found = scan(cell, make_zeros(), make_inputs(), method=Newton())
        assert_loop(found, lambda h, x: cell(x, h), make_zeros(), make_inputs())


def test_second_derivatives_are_refused_at_once_and_right_in_order():
    weight = (0.3 * torch.eye(4, dtype=DOUBLE)).requires_grad_()

    def cell(h, x):
        return torch.tanh(h @ weight + x)

    xs = make_inputs()
    with pytest.raises(RuntimeError, match=r"method=forerun\.Sequential"):
        torch.autograd.grad(scan(cell, make_zeros(), xs, method=Newton()).hidden.sum(), weight, create_graph=True)

    def second(states):
        (gradient,) = torch.autograd.grad(states.sin().sum(), weight, create_graph=True)
        return torch.autograd.grad(gradient.sum(), weight)[0]

    found = scan(cell, make_zeros(), xs, method=Sequential())
    torch.testing.assert_close(second(found.hidden), second(run_loop(cell, make_zeros(), xs)))


@pytest.mark.parametrize("trained", [True, False])
def test_what_the_cell_reads_is_changed_before_backward(trained):
    scale = torch.full((4,), 0.5, dtype=DOUBLE, requires_grad=trained)
    xs = make_inputs().requires_grad_()
    loss = scan(lambda h, x: torch.tanh(h * scale + x), make_zeros(), xs, method=Newton()).hidden.sum()
    with torch.no_grad():
        scale.mul_(1.0001)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_state_that_is_overwritten_later_is_an_error():
    calls = []

    def cell(h, x):
        calls.append(1)
        return h.add_(x) if len(calls) > 5 else h + x

    with pytest.raises(RuntimeError, match="in place at step"):
        scan(cell, make_zeros(), make_inputs(length=20))


def test_tensors_of_a_state_of_different_sizes():
    def cell(h, x):
        large = 0.9 * h["large"] + x
        small = 0.5 * h["small"] * (1 - 1e7 * h["small"]) + 1e-9 * torch.tanh(large)
        return {"large": large, "small": small}

    start = {"large": torch.zeros(1, 2), "small": torch.full((1, 2), 1e-8)}
    xs = make_inputs(width=2, batch=1, dtype=torch.float32)
    expected, state = [], start
    for x in xs:
        state = cell(state, x)
        expected.append(state["small"])
    expected = torch.stack(expected)
    for method in (Newton(), Picard()):
        found = scan(cell, start, xs, method=method)
        torch.testing.assert_close(found.hidden["small"], expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_a_path_that_is_coarse_for_its_small_elements_is_named():
    loop = PlainLoop.from_cell(lambda h, x: h + x, torch.ones(1, 2), torch.zeros(3, 1, 2))
    path = torch.tensor([1.0, 1e-6]).expand(200, 1, 2)
    assert describe_coarse_path(path, path.clone(), loop.layout) is None
    assert "from step 0 on" in describe_coarse_path(path, path + 1e-5, loop.layout)


def test_short_sequences_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scan(mix_samples, make_zeros(), make_inputs(length=20))
    assert_loop(found, mix_samples, make_zeros(), make_inputs(length=20))


def test_a_random_cell_that_falls_back_draws_as_its_loop_does():
    cell = nn.GRUCell(3, 4).double()

    def zone_out(h, x):
        following = cell(x, h)
        return torch.where(torch.rand_like(following) < 0.1, h, following)

    xs, h = torch.randn(40, 2, 3, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="plain loop was taken"):
        hidden = scan(zone_out, h, xs, method=Newton()).value
    after = torch.rand(1)
    torch.manual_seed(5)
    truth = []
    for x in xs:
        h = zone_out(h, x)
        truth.append(h)
    assert torch.equal(hidden, torch.stack(truth))
    assert torch.equal(after, torch.rand(1))
