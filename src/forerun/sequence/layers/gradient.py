"""The gradient of features that were solved for: that of the ordinary pass, which runs when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Layer = Callable[[Tensor], Tensor]


def run_ordinary_pass(layers: Sequence[Layer], entry: Tensor) -> Tensor:
    """Return the features of the ordinary pass, what enters and then those of each layer; differentiable."""
    features = entry
    for layer in layers:
        features = torch.cat([features, layer(features)], 1)
    return features


def carry_features(features: Tensor, layers: Sequence[Layer], entry: Tensor) -> Tensor:
    """Return solved features as a function of what enters and of the weights of the layers.

    The backward pass takes the ordinary pass over the layers. Where a layer is a function, what it closes over is not
    to be seen: the ordinary pass runs at once.

    Args:
        features: `(N, C, *rest)`, solved for.
        layers: one after another.
        entry: what enters, `(N, C_0, *rest)`.
    """
    if not torch.is_grad_enabled():
        return features
    if not all(isinstance(layer, nn.Module) for layer in layers):
        ordinary = run_ordinary_pass(layers, entry)
        return ordinary if ordinary.requires_grad else features
    parameters = [parameter for layer in layers for parameter in _list_parameters(layer)]
    if not any(tensor.requires_grad for tensor in [entry, *parameters]):
        return features

    def run_pass(entry: Tensor) -> Tensor:
        return run_ordinary_pass(layers, entry)

    carried: Tensor = _OrdinaryGradient.apply(features, run_pass, entry, *parameters)  # type: ignore[no-untyped-call]
    return carried


class _OrdinaryGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        run_pass: Callable[[Tensor], Tensor],
        *inputs: Tensor,
    ) -> Tensor:
        ctx.run_pass = run_pass
        ctx.save_for_backward(*inputs)
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # torch refuses those that were changed since
        keeps_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            features = ctx.run_pass(inputs[0])
            wanted = [tensor for tensor in inputs if tensor.requires_grad]
            gradients = torch.autograd.grad(features, wanted, grads, create_graph=keeps_graph, allow_unused=True)
        remaining = iter(gradients)
        return None, None, *(next(remaining) if tensor.requires_grad else None for tensor in inputs)


def _list_parameters(layer: Any) -> list[nn.Parameter]:
    parameters: list[nn.Parameter] = list(layer.parameters())
    return parameters
