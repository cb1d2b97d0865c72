"""Layers together: the features of the ordinary pass, exactly or to a tolerance."""

import pytest
import torch
from torch import nn

from forerun import Absolute, Full, Picard, Secant, Sequential, Sliding
from forerun.engine.methods import GaussSeidel, Jacobi, JacobiGaussSeidel, PicardGaussSeidel
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence import StackedLayers, feedforward

METHODS = [
    Sequential(), Picard(), Jacobi(), Secant(), GaussSeidel(4, Picard()), PicardGaussSeidel(4), JacobiGaussSeidel(4)
]  # fmt: skip


def convolutions(depth=9, growth=2):
    """A DenseNet of convolutions, and what enters it."""
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(3 + growth * k, growth, 3, padding=1), nn.Tanh()).double() for k in range(depth)
    ]  # fmt: skip
    return layers, torch.randn(2, 3, 4, 4, dtype=torch.float64)


def perceptrons(depth=12, growth=4):
    torch.manual_seed(0)
    layers = [nn.Linear(6 + growth * k, growth).double() for k in range(depth)]
    return layers, torch.randn(3, 6, dtype=torch.float64)


@torch.no_grad()
def ordinary(layers, features):
    for layer in layers:
        features = torch.cat([features, layer(features)], 1)
    return features


@pytest.mark.parametrize("window", [Sliding(5), Full()], ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_gives_the_ordinary_features(method, window):
    layers, entry = convolutions()
    found = feedforward(layers, entry, growth=2, method=method, window=window, tolerance=Absolute(0.0))
    torch.testing.assert_close(found.features, ordinary(layers, entry), rtol=0, atol=1e-13)
    assert found.rounds <= len(layers)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_layers_in_one_product_are_the_layers(method):
    layers, entry = perceptrons()
    found = feedforward(StackedLayers(layers, torch.tanh), entry, method=method, tolerance=Absolute(0.0))
    truth = ordinary([nn.Sequential(layer, nn.Tanh()) for layer in layers], entry)
    torch.testing.assert_close(found.features, truth, rtol=0, atol=1e-13)


def test_layers_of_different_growth():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 1), nn.Linear(4, 5), nn.Linear(9, 2)]
    entry = torch.randn(2, 3)
    truth = ordinary(layers, entry)
    torch.testing.assert_close(feedforward(layers, entry, growth=[1, 5, 2]).features, truth)
    torch.testing.assert_close(feedforward(StackedLayers(layers, lambda x: x), entry).features, truth)


def test_what_has_settled_is_taken_early_and_checked():
    layers, entry = convolutions(depth=30, growth=1)
    truth = ordinary(layers, entry)
    early = feedforward(layers, entry, growth=1, tolerance=Absolute(1e-3), check=True)
    exact = feedforward(layers, entry, growth=1, tolerance=Absolute(0.0))
    assert early.rounds < exact.rounds < len(layers)
    assert (early.features - truth).square().mean().sqrt() <= 1e-3
    assert early.deviation_estimate <= 1e-3


@pytest.mark.parametrize(
    "call, kind, line",
    [
        (lambda: feedforward([], torch.zeros(1, 3), growth=1), ValueError, "at least one"),
        (lambda: feedforward([nn.Linear(3, 1)], torch.zeros(1, 3)), TypeError, "growth=12"),
        (lambda: feedforward([nn.Linear(3, 1)], torch.zeros(3), growth=1), ValueError, "unsqueeze"),
        (lambda: feedforward([nn.Linear(3, 1)], torch.zeros(1, 3), growth=[1, 1]), ValueError, "for each"),
        (lambda: feedforward([nn.Linear(3, 2)], torch.zeros(1, 3), growth=1), ValueError, "growth=2"),
        (lambda: feedforward([nn.Dropout()], torch.zeros(1, 3), growth=3), ValueError, r"layers\[0\].eval"),
        (lambda: StackedLayers([nn.Linear(3, 2), nn.Linear(4, 2)], torch.tanh), ValueError, r"nn.Linear\(5, 2\)"),
        (lambda: feedforward(StackedLayers([nn.Linear(3, 2)], torch.tanh), torch.zeros(1, 4)), ValueError, r"\(N, 3\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_refused(call, kind, line):
    with pytest.raises(kind, match=line):
        call()


def test_features_have_the_gradient_of_the_ordinary_pass():
    layers, entry = convolutions(depth=4)
    leaves = [entry.requires_grad_(), *(weight for layer in layers for weight in layer.parameters())]
    expected = entry
    for layer in layers:
        expected = torch.cat([expected, layer(expected)], 1)
    found = feedforward(layers, entry, growth=2, tolerance=Absolute(0.0)).features
    gradients = [torch.autograd.grad(features.sin().sum(), leaves) for features in (found, expected)]
    torch.testing.assert_close(*gradients)
    functions = [lambda features, layer=layer: layer(features) for layer in layers]
    found = feedforward(functions, entry, growth=2, tolerance=Absolute(0.0)).features
    torch.testing.assert_close(torch.autograd.grad(found.sin().sum(), leaves), gradients[1])
    found = feedforward(layers, entry, growth=2).features.sum()
    with torch.no_grad():
        leaves[1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.backward()


def test_layers_in_one_product_follow_their_training():
    layers, entry = perceptrons()
    stacked = StackedLayers(layers, torch.tanh)
    with torch.no_grad():
        layers[3].weight.mul_(2)
    layers[5].weight.data.mul_(2)
    found = feedforward(stacked, entry, tolerance=Absolute(0.0))
    truth = ordinary([nn.Sequential(layer, nn.Tanh()) for layer in layers], entry)
    torch.testing.assert_close(found.features, truth, rtol=0, atol=1e-13)
    assert found.features.requires_grad
    assert found.witnessed == 4


def test_a_layer_that_is_not_its_weights_is_seen():
    layers, entry = perceptrons()
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: output + 1)
    truth = ordinary([nn.Sequential(layer, nn.Tanh()) for layer in layers], entry)
    with pytest.warns(WitnessWarning, match="at layer 0"):
        found = feedforward(StackedLayers(layers, torch.tanh), entry)
    assert torch.equal(found.features.detach(), truth)
    with pytest.raises(WitnessDisagrees):
        feedforward(StackedLayers(layers, torch.tanh), entry, strict=True)
    assert "witness=False" in feedforward(StackedLayers(layers, torch.tanh), entry, witness=False).notes[-1]
