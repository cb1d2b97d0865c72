"""RNN is a module like torch's: whatever is done to it, it gives what the module itself gives, or says a word."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence

from forerun import Newton, Sequential
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence import RNN
from forerun.sequence.recurrent import layer_scan

DOUBLE = torch.float64


def make_gru(**options):
    torch.manual_seed(0)
    return nn.GRU(3, 4, dtype=DOUBLE, **options)


def make_inputs(length=40):
    torch.manual_seed(1)
    return torch.randn(length, 2, 3, dtype=DOUBLE)


def assert_same(ours, own, xs, tolerance=1e-9):
    torch.testing.assert_close(ours(xs)[0], own(xs)[0], rtol=0, atol=tolerance)


def test_it_is_the_torch_module_and_its_kernel_was_called_on_some_steps():
    own = make_gru(bidirectional=True, num_layers=2)
    ours = RNN(own, method=Newton())
    assert isinstance(ours, nn.GRU)
    assert ours.hidden_size == 4
    assert len(ours.all_weights) == 4
    ours.flatten_parameters()
    assert_same(ours, own, make_inputs())
    assert {run.witnessed for run in ours.runs} == {4}


def test_eval_reaches_the_dropout_between_layers():
    ours, xs = RNN(make_gru(num_layers=2, dropout=0.5)), make_inputs()
    nn.Sequential(ours).eval()
    assert torch.equal(ours(xs)[0], ours(xs)[0])
    plain = nn.GRU(3, 4, 2, dtype=DOUBLE)
    plain.load_state_dict(ours.state_dict())
    assert_same(ours, plain, xs)
    ours.train()
    assert not torch.equal(ours(xs)[0], ours(xs)[0])


@pytest.mark.parametrize("method", [None, Newton()], ids=["chosen", "Newton"])
def test_other_weights_by_functional_call_and_by_assignment(method):
    own, xs = make_gru(), make_inputs()
    ours = RNN(own, method=method)
    replaced = {name: torch.randn_like(weight).requires_grad_() for name, weight in own.named_parameters()}
    first, second = functional_call(ours, replaced, (xs,))[0], functional_call(own, replaced, (xs,))[0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
    gradients = [torch.autograd.grad(states.sin().sum(), list(replaced.values())) for states in (first, second)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-7)
    other = nn.GRU(3, 4, dtype=DOUBLE)
    for target in (ours, own):
        target.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)
        assert_same(ours, other, xs)


def double_weight_norm(module):
    parametrizations.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.parametrizations.weight_hh_l0.original0.mul_(2)


def double_old_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(module, "weight_hh_l0")
    with torch.no_grad():
        module.weight_hh_l0_g.mul_(2)


def prune_half(module):
    prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)
    with torch.no_grad():
        module.weight_hh_l0_orig.mul_(2)


@pytest.mark.parametrize("change", [double_weight_norm, double_old_weight_norm, prune_half])
@pytest.mark.parametrize("place", ["before", "on ours", "on its own"])
def test_parametrizations_weight_norm_and_pruning_act(change, place):
    expected, own, xs = make_gru(), make_gru(), make_inputs()
    change(expected)
    if place == "before":
        change(own)
    ours = RNN(own, method=Newton())
    if place == "on ours":
        change(ours)
    elif place == "on its own":
        change(own)
    assert_same(ours, expected, xs)
    assert ours.runs[0].witnessed >= 3
    assert_same(copy.deepcopy(ours), expected, xs)


def test_hooks_run_once_and_what_they_return_counts():
    own, expected, calls = make_gru(), make_gru(), []

    def double_outputs(module, inputs, outputs):
        calls.append(1)
        return outputs[0] * 2, outputs[1]

    ours = RNN(own)
    for module in (ours, expected):
        module.register_forward_hook(double_outputs)
    assert_same(ours, expected, make_inputs(300))
    assert len(calls) == 2


def test_copies_and_files_after_a_training_step():
    ours, xs = RNN(make_gru(), method=Newton()), make_inputs()
    ours(xs)[0].sum().backward()
    assert_same(copy.deepcopy(ours), ours, xs)
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    assert_same(torch.load(file, weights_only=False), ours, xs)


def test_tied_weights():
    own = nn.LSTM(3, 4, bidirectional=True, dtype=DOUBLE)
    own.weight_hh_l0_reverse = own.weight_hh_l0
    assert_same(RNN(own, method=Newton()), own, make_inputs())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_the_module_itself(dtype):
    own, xs = nn.LSTM(3, 4).to(dtype), make_inputs(300).to(dtype)
    ours = RNN(own)
    assert torch.equal(ours(xs)[0], own(xs)[0])
    assert "rounds" in ours.notes[0]
    with pytest.warns(WitnessWarning, match="kernel was taken"):
        RNN(own, method=Newton())(xs)
    with pytest.raises(WitnessDisagrees, match="strict=True"):
        RNN(own, method=Newton(), strict=True)(xs)


def test_autocast_packed_sequences_and_empty_batches_are_the_module_itself():
    own = nn.GRU(3, 4)
    ours, xs = RNN(own), torch.randn(300, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(xs)[0], own(xs)[0])
    packed = pack_padded_sequence(torch.randn(5, 2, 3), [5, 3])
    assert torch.equal(ours(packed)[0].data, own(packed)[0].data)
    assert "PackedSequence" in ours.notes[0]
    assert ours(torch.zeros(5, 0, 3))[0].shape == (5, 0, 4)


def test_transforms_of_torch_func():
    own, xs = make_gru(), make_inputs()
    ours, weights = RNN(own), dict(own.named_parameters())

    def gradient(module):
        return torch.func.grad(lambda values: functional_call(module, values, (xs,))[0].sin().sum())(weights)

    torch.testing.assert_close(gradient(ours), gradient(own))


def test_second_derivatives_are_refused_at_once_and_right_in_order():
    own, xs = make_gru(), make_inputs().requires_grad_()
    with pytest.raises(RuntimeError, match=r"method=forerun\.Sequential"):
        torch.autograd.grad(RNN(own, method=Newton())(xs)[0].sum(), xs, create_graph=True)

    def product(module):
        (gradient,) = torch.autograd.grad(module(xs)[0].square().sum(), xs, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), list(own.parameters()))

    torch.testing.assert_close(product(RNN(own, method=Sequential())), product(own))


@pytest.mark.parametrize("name", ["bias_hh_l0", "weight_hh_l0"])
def test_weights_stepped_before_backward(name):
    own = make_gru()
    loss = RNN(own, method=Newton())(make_inputs())[0].square().sum()
    with torch.no_grad():
        getattr(own, name).add_(0.01)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore::forerun.engine.witness.WitnessWarning")
@pytest.mark.parametrize("method", [None, Newton()], ids=["chosen", "Newton"])
def test_inputs_of_another_width_are_refused_by_torch(method):
    with pytest.raises(RuntimeError, match="input_size"):
        RNN(make_gru(), method=method)(torch.randn(300, 2, 5, dtype=DOUBLE))


class DoublingGRU(nn.GRU):
    def forward(self, input, hx=None):
        outputs, last_state = super().forward(input, hx)
        return outputs * 2, last_state


def test_a_forward_of_its_own_is_refused():
    with pytest.raises(TypeError, match=r"scan\(cell, h0, xs\)"):
        RNN(DoublingGRU(3, 4))


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_wrong_replica_is_seen_and_the_kernel_answers(monkeypatch, batch_first):
    def swap_gates(module, place):
        cell = make_layer_cell(module, place)
        weights = cell.weights
        rolled = type(weights)(weights.inward, weights.hidden.roll(4, 0), weights.bias_inward, weights.bias_hidden)
        return type(cell)(rolled)

    make_layer_cell = layer_scan.make_layer_cell
    monkeypatch.setattr(layer_scan, "make_layer_cell", swap_gates)
    own, xs = make_gru(batch_first=batch_first), make_inputs()
    ours = RNN(own, method=Newton())
    with pytest.warns(WitnessWarning, match="disagrees with the scans"):
        outputs = ours(xs)[0]
    assert torch.equal(outputs, own(xs)[0])
    with pytest.raises(WitnessDisagrees):
        RNN(own, method=Newton(), strict=True)(xs)
    RNN(own, method=Newton(), witness=False)(xs)
