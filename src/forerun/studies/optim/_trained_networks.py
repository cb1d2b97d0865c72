"""Small networks whose training is mapped: the six conditions of the paper, and a control whose boundary is smooth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.optim.trainability import BatchedLoss, HyperAxis

NETWORK_WIDTH = 6
CHUNKS = 3  # of the data of mini-batches, one after another
RATE_RANGE = (-1.0, 4.0)
TANH_RANGE = (0.0, 3.5)
CONTROL_RANGE = (-1.5, 1.5)

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainedNetwork:
    """One condition: a network with its data, and the plane that is mapped.

    Attributes:
        loss_of: losses of many networks.
        start: the first weights.
        axes: of the first map.
        quantile: of the boundary's density, where zooms go to.
    """

    loss_of: BatchedLoss
    start: tuple[Tensor, ...]
    axes: tuple[HyperAxis, HyperAxis]
    quantile: float = 0.9


def build_networks(names: Sequence[str]) -> dict[str, TrainedNetwork]:
    """Return the networks of some conditions, by name; "tanh, seed 1" has other data and weights."""
    return {name: _build_network(name) for name in names}


def _build_network(name: str) -> TrainedNetwork:
    kind, _, seed = name.partition(", seed ")
    generator = torch.Generator().manual_seed(int(seed or 0))
    width = NETWORK_WIDTH
    count = width * width + width  # as many data as weights
    inputs, targets, first, second = (
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in ((count, width), (count,), (width, width), (width,))
    )
    start = (first, second)
    axes = _rate_axes(RATE_RANGE)
    match kind:
        case "tanh":
            return TrainedNetwork(network_loss(torch.tanh, inputs, targets), start, _rate_axes(TANH_RANGE))
        case "ReLU":
            return TrainedNetwork(network_loss(torch.relu, inputs, targets), start, axes)
        case "mini-batches":
            return TrainedNetwork(network_loss(torch.tanh, inputs, targets, CHUNKS), start, axes)
        case "initial mean":
            axes = (HyperAxis(-3.0, 3.0, "mean", (0,)), HyperAxis(*RATE_RANGE, "rate", (0, 1)))
            return TrainedNetwork(network_loss(torch.tanh, inputs, targets), start, axes)
        case "linear":
            return TrainedNetwork(network_loss(torch.clone, inputs, targets), start, axes, quantile=1.0)
        case "one datum":
            return TrainedNetwork(network_loss(torch.tanh, inputs[:1], targets[:1]), start, axes, quantile=1.0)
    return TrainedNetwork(regression_loss(inputs, targets), (first[0], second), _rate_axes(CONTROL_RANGE))


def _rate_axes(ends: tuple[float, float]) -> tuple[HyperAxis, HyperAxis]:
    """Return an axis for the rate of the first layer, and one for that of the second."""
    return HyperAxis(*ends, "rate", (0,)), HyperAxis(*ends, "rate", (1,))


def network_loss(activation: Activation, inputs: Tensor, targets: Tensor, chunks: int = 1) -> BatchedLoss:
    """Return the loss of networks `w . f(sqrt(2 / n) W x) / n`, whose data may come in chunks."""

    def measure_losses(parameters: Sequence[Tensor], step: int) -> Tensor:
        first, second = parameters
        chunk = slice(step % chunks, None, chunks)
        hidden = activation((2 / NETWORK_WIDTH) ** 0.5 * (first @ inputs[chunk].T))
        outputs = (second[:, None] @ hidden)[:, 0] / NETWORK_WIDTH
        return (outputs - targets[chunk]).square().mean(-1)

    return measure_losses


def regression_loss(inputs: Tensor, targets: Tensor) -> BatchedLoss:
    """Return the loss of a regression on the inputs and on their squares, a rate for each."""

    def measure_losses(parameters: Sequence[Tensor], step: int) -> Tensor:
        first, second = parameters
        outputs = first @ inputs.T / 2 + second @ inputs.square().T
        return (outputs - targets).square().mean(-1)

    return measure_losses
