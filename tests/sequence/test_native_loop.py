"""The native loop over the cells of `torch.nn`: their states and gradients, and where it has no place."""

import warnings

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from forerun import Newton, Status
from forerun.engine.numerics.native.loader import NATIVE_KERNELS, KernelLoader
from forerun.sequence import RNN, scan
from forerun.sequence.recurrent import kernel_choice
from forerun.sequence.recurrent.layer_scan import make_layer_cell
from forerun.sequence.recurrent.native_loop import NATIVE_NOTE, loop_natively

CELLS = {
    "gru": lambda **options: nn.GRUCell(3, 5, **options),
    "lstm": lambda **options: nn.LSTMCell(3, 5, **options),
    "tanh": lambda **options: nn.RNNCell(3, 5, **options),
    "relu": lambda **options: nn.RNNCell(3, 5, nonlinearity="relu", **options),
}
every_cell = pytest.mark.parametrize("kind", CELLS)


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """The kernels, loaded at once."""
    pytest.importorskip("numba")
    monkeypatch.setattr(NATIVE_KERNELS, "setting", "1")


def problem(kind, length=40, batch=2, dtype=torch.float64, **options):
    torch.manual_seed(0)
    cell = CELLS[kind](dtype=dtype, **options)
    xs = torch.randn(length, batch, 3, dtype=dtype, requires_grad=True)
    h = torch.randn(batch, 5, dtype=dtype, requires_grad=True)
    return cell, (h, (2 * h).detach().requires_grad_()) if kind == "lstm" else h, xs


def loop(cell, h, xs):
    states = []
    for x in xs:
        h = cell(x, h)
        states.append(h)
    if isinstance(h, tuple):
        return tuple(torch.stack(tensors) for tensors in zip(*states, strict=True))
    return torch.stack(states)


def leaves(tree):
    return list(tree) if isinstance(tree, tuple) else [tree]


def gradients(hidden, cell, h, xs):
    weights = [torch.sin(torch.arange(tensor.numel(), dtype=tensor.dtype)).reshape(tensor.shape) for tensor in hidden]
    loss = sum((tensor * weight).sum() for tensor, weight in zip(hidden, weights, strict=True))
    return torch.autograd.grad(loss, [xs, *leaves(h), *cell.parameters()])


@every_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("length, batch, bias", [(1, 1, True), (40, 2, True), (40, 3, False)])
def test_states_and_gradients_are_those_of_the_loop(kind, dtype, length, batch, bias):
    cell, h, xs = problem(kind, length, batch, dtype, bias=bias)
    found = scan(cell, h, xs)
    assert found.notes == (NATIVE_NOTE,)
    assert found.status is Status.SEQUENTIAL
    assert found.witnessed
    ours, theirs = leaves(found.hidden), leaves(loop(cell, h, xs))
    tolerance = 256 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    pairs = zip(gradients(ours, cell, h, xs), gradients(theirs, cell, h, xs), strict=True)
    for our_gradient, their_gradient in pairs:
        bound = tolerance * float(their_gradient.abs().max())
        torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=bound)


@every_cell
def test_gradcheck(kind):
    cell, h, xs = problem(kind, length=4, batch=2)

    def run(xs, *state):
        return scan(cell, state if kind == "lstm" else state[0], xs, witness=False).hidden

    assert gradcheck(run, (xs, *leaves(h)))


def test_float32_rounds_no_worse_than_the_loop():
    for kind in CELLS:
        cell, h, xs = problem(kind, length=500)
        with torch.no_grad():
            exact = torch.cat(leaves(loop(cell, h, xs)), -1)
            cell, xs = cell.float(), xs.float()
            h = tuple(tensor.float() for tensor in h) if kind == "lstm" else h.float()
            ours = torch.cat(leaves(scan(cell, h, xs).hidden), -1)
            theirs = torch.cat(leaves(loop(cell, h, xs)), -1)
        assert (ours - exact).norm() <= 1.5 * (theirs - exact).norm()


def test_inputs_of_any_strides_and_frozen_weights():
    cell, h, xs = problem("gru")
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    strided = xs.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    found = scan(cell, h, strided)
    torch.testing.assert_close(found.hidden, loop(cell, h, xs))
    (gradient,) = torch.autograd.grad(found.hidden.sum(), strided)
    torch.testing.assert_close(gradient, torch.autograd.grad(loop(cell, h, xs).sum(), xs)[0])


def test_changed_weights_and_second_derivatives_are_refused():
    cell, h, xs = problem("gru")
    hidden = scan(cell, h, xs).hidden
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(hidden.sum(), xs, create_graph=True)
    hidden = scan(cell, h, xs).hidden
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        hidden.sum().backward()


def test_a_weight_that_the_replica_does_not_see_is_noticed():
    cell, h, xs = problem("gru")
    cell.forward = lambda x, h: nn.GRUCell.forward(cell, x, h) + 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scan(cell, h, xs)
    assert NATIVE_NOTE not in found.notes
    torch.testing.assert_close(found.hidden, loop(cell, h, xs))


def test_hooks_run_at_every_step():
    cell, h, xs = problem("gru")
    calls = []
    cell.register_forward_hook(lambda *_: calls.append(1))
    with pytest.warns(UserWarning, match="forward hook"):
        found = scan(cell, h, xs[:, :, :].repeat(8, 1, 1))
    assert NATIVE_NOTE not in found.notes
    assert len(calls) >= 320


@pytest.mark.parametrize("change", ["method", "nan", "wide", "setting", "no numba"])
def test_where_it_has_no_place(change, monkeypatch):
    cell, h, xs = problem("gru", length=300)
    options = {}
    if change == "method":
        options = {"method": Newton()}
    if change == "nan":
        xs = xs.detach().clone()
        xs[7] = torch.nan
    if change == "wide":
        monkeypatch.setattr("forerun.sequence.recurrent.native_loop.MAX_PRODUCTS", 100)
    if change == "setting":
        monkeypatch.setattr(NATIVE_KERNELS, "setting", "0")
    if change == "no numba":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr("forerun.sequence.recurrent.native_loop.NATIVE_KERNELS", KernelLoader("1"))
    found = scan(cell, h, xs, **options)
    assert NATIVE_NOTE not in found.notes
    torch.testing.assert_close(found.hidden, loop(cell, h, xs), equal_nan=True)


@pytest.mark.parametrize("shape", [(2, 4), (3, 5)])
def test_wrong_shapes_are_refused_before_a_kernel_reads_them(shape):
    cell, _, xs = problem("gru")
    layer = make_layer_cell(nn.GRU(3, 5, dtype=torch.float64), 0)
    prepared = layer.prepare_inputs(xs)
    assert loop_natively(layer, torch.zeros(shape, dtype=torch.float64), prepared) is None
    assert loop_natively(layer, torch.zeros(2, 5), prepared) is None
    assert loop_natively(layer, torch.zeros(2, 5, dtype=torch.float64), prepared[..., :5]) is None
    with pytest.raises((RuntimeError, ValueError)):
        scan(cell, torch.zeros(shape, dtype=torch.float64), xs)


@pytest.mark.parametrize("quicker", ["loop", "kernel"])
def test_a_module_takes_what_is_quicker_and_says_so(quicker, monkeypatch):
    monkeypatch.setattr(kernel_choice, "measure_native_loop", lambda *_: 1.0)
    monkeypatch.setattr(kernel_choice, "measure_kernel", lambda *_: 9.0 if quicker == "loop" else 0.1)
    torch.manual_seed(0)
    module = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    rnn, xs = RNN(module), torch.randn(60, 2, 3)
    outputs, state = rnn(xs)
    torch.testing.assert_close((outputs, state), module(xs))
    if quicker == "loop":
        assert [NATIVE_NOTE in run.notes for run in rnn.runs] == [True] * 4
    else:
        assert not rnn.runs
        assert "own kernel was taken" in rnn.notes[0]
