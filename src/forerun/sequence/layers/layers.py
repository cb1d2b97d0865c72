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
        self, layers: Sequence[Callable[[Tensor], Tensor]], growth: Sequence[int], entry: Sequence[int]
    ) -> None:
        self._layers, self._growth, self._rest = layers, growth, tuple(entry[1:])
        each = torch.Size(self._rest).numel()
        self.bounds = torch.tensor(list(accumulate(growth, initial=entry[0]))) * each

    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        found = []
        for step in steps.tolist():
            seen = sequence[:, : int(self.bounds[step])].unflatten(-1, (-1, *self._rest))
            new = self._layers[step](seen)
            expected = (len(seen), self._growth[step], *self._rest)
            if new.shape != expected:
                raise ValueError(
                    f"layer {step} made {list(new.shape)} of features {list(seen.shape)}, but {list(expected)} was "
                    f"expected; pass growth={new.shape[1] if new.dim() > 1 else 1} for it, and keep the other axes"
                )
            found.append(new.flatten(1))
        return torch.cat(found, -1)


@final
class StackedLayers(CausalFunction):
    """Linear layers with one activation: all layers of a round are one product with one block-triangular matrix.

        v_l = activation(W_l (v_0 .. v_{l-1}) + b_l)

    Args:
        layers: `nn.Linear`s; layer `l` has as many inputs as all before it have outputs, those that enter included.
        activation: elementwise.
    """

    def __init__(self, layers: Sequence[nn.Linear], activation: Callable[[Tensor], Tensor]) -> None:
        self.bounds = torch.tensor(list(accumulate((x.out_features for x in layers), initial=layers[0].in_features)))
        for place, (layer, seen) in enumerate(zip(layers, self.bounds.tolist(), strict=False)):
            if layer.in_features != seen:
                raise ValueError(
                    f"layer {place} reads {layer.in_features} features, but there are {seen} before it; make it "
                    f"nn.Linear({seen}, {layer.out_features}), or pass the layers to feedforward as they are"
                )
        width = int(self.bounds[-1])
        rows = [nn.functional.pad(x.weight.detach(), (0, width - x.in_features)) for x in layers]
        self._weight = torch.cat(rows)  # (all new features, all features)
        self._bias = torch.cat([_bias(x) for x in layers])
        self._activation = activation

    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        first, last = int(steps[0]), int(steps[-1])
        entry = int(self.bounds[0])
        begin, seen, end = (int(self.bounds[k]) for k in (first, last, last + 1))
        rows = slice(begin - entry, end - entry)
        # what stands behind a layer has zero weight, and the last layer sees nothing behind `seen`
        found = self._activation(nn.functional.linear(sequence[:, :seen], self._weight[rows, :seen], self._bias[rows]))
        if len(steps) == last - first + 1:
            return found
        bounds = (self.bounds - begin).tolist()
        return torch.cat([found[:, bounds[step] : bounds[step + 1]] for step in steps.tolist()], -1)


def _bias(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
