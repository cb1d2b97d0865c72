"""Layers: a network in which every layer reads all features before it, as a `CausalFunction` of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.causal import CausalFunction


@final
class LayerFunction(CausalFunction):
    """Any layers, each with its own code; the layers of a round are called one after another.

    On one device a round therefore costs as much as all its layers. Several share it with `backend=Distributed()`.

    Args:
        layers: each takes all features before it, `(N, C, *rest)`, and returns its own, `(N, growth, *rest)`.
        growth: channels that each layer adds.
        entry: shape `(C, *rest)` of what enters the first layer.
    """

    def __init__(
        self,
        layers: Sequence[Callable[[Tensor], Tensor]],
        growth: Sequence[int],
        entry: Sequence[int],
    ) -> None:
        channels, *positions = entry
        self.layers = layers
        self._growth = growth
        self._positions = torch.Size(positions)
        ends = accumulate(growth, initial=channels)
        self.bounds = torch.tensor(list(ends)) * self._positions.numel()

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        outputs = []
        for step in steps.tolist():
            inputs = sequence[:, : int(self.bounds[step])]
            features = inputs.unflatten(-1, (-1, *self._positions))
            output = self.layers[step](features)
            self._check_output(step, features, output)
            outputs.append(output.flatten(1))
        return torch.cat(outputs, -1)

    def _check_output(self, step: int, features: Tensor, output: Tensor) -> None:
        expected = (len(features), self._growth[step], *self._positions)
        if output.shape == expected:
            return
        growth = 1
        if output.dim() > 1:
            growth = output.shape[1]
        raise ValueError(
            f"layer {step} made {list(output.shape)} of features {list(features.shape)}, but {list(expected)} was "
            f"expected; pass growth={growth} for it, and keep the other axes"
        )


@final
class StackedLayers(CausalFunction):
    """Linear layers with one activation: all layers of a round are one product with one block-triangular matrix.

        v_l = activation(W_l (v_0 .. v_{l-1}) + b_l)

    Args:
        layers: `nn.Linear`s; layer `l` has as many inputs as all before it have outputs, those that enter included.
        activation: elementwise.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        sizes = [layer.out_features for layer in layers]
        bounds = list(accumulate(sizes, initial=layers[0].in_features))
        for index, layer in enumerate(layers):
            _check_inputs(index, layer, bounds[index])
        self.bounds = torch.tensor(bounds)
        self._linear_layers = layers
        self._activation = activation
        self.copy_weights()

    def copy_weights(self) -> None:
        """Copy the weights of the layers as they are now, as every run does when it begins."""
        width = int(self.bounds[-1])
        weights = [_padded_weight(layer, width) for layer in self._linear_layers]
        self._weight = torch.cat(weights)  # (new features, all features)
        self._bias = torch.cat([_layer_bias(layer) for layer in self._linear_layers])

    @property
    def layers(self) -> list[nn.Module]:
        """The layers one by one, each with its activation."""
        return [_ActivatedLayer(layer, self._activation) for layer in self._linear_layers]

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        first = int(steps[0])
        last = int(steps[-1])
        if first == 0:
            self.copy_weights()  # a run begins: they may have been trained since the last
        entry = int(self.bounds[0])
        begin = int(self.bounds[first])
        end = int(self.bounds[last + 1])
        width = int(self.bounds[last])
        rows = slice(begin - entry, end - entry)
        # what stands after the inputs of a layer has zero weight, and the last layer reads nothing after `width`
        product = nn.functional.linear(
            sequence[:, :width],
            self._weight[rows, :width],
            self._bias[rows],
        )
        outputs = self._activation(product)
        if len(steps) == last - first + 1:
            return outputs
        bounds = (self.bounds - begin).tolist()
        slots = [outputs[:, bounds[step] : bounds[step + 1]] for step in steps.tolist()]
        return torch.cat(slots, -1)


@final
class _ActivatedLayer(nn.Module):
    def __init__(self, layer: nn.Linear, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._layer = layer
        self._activation = activation

    def forward(self, features: Tensor) -> Tensor:
        return self._activation(self._layer(features))


def _check_inputs(index: int, layer: nn.Linear, expected: int) -> None:
    if layer.in_features != expected:
        raise ValueError(
            f"layer {index} reads {layer.in_features} features, but there are {expected} before it; make it "
            f"nn.Linear({expected}, {layer.out_features}), or pass the layers to feedforward as they are"
        )


def _padded_weight(layer: nn.Linear, width: int) -> Tensor:
    missing = width - layer.in_features
    return nn.functional.pad(layer.weight.detach(), (0, missing))


def _layer_bias(layer: nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    if bias is None:
        return layer.weight.new_zeros(layer.out_features)
    return bias.detach()
