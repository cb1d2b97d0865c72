"""Training on the nodes of one graph, with the loss of every step and the best epoch in validation.

Running ahead means nothing here: it is the plain torch loop of a few hundred steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class IteratedNetwork(Protocol):
    """A module whose outputs after every step can be read, as those of `PIGN`."""

    parameters: Any
    state_dict: Any
    load_state_dict: Any
    train: Any
    eval: Any

    def iterate(self, x: Tensor, edge_index: Tensor, *, steps: int) -> Sequence[Tensor]:
        """Return outputs after every step, `(N, C)` of features `(N, D)` and edges `(2, E)`."""


def train_on_nodes(
    network: IteratedNetwork,
    x: Tensor,
    edge_index: Tensor,
    classes: Tensor,
    *,
    train: Tensor,
    validate: Tensor,
    steps: int = 8,
    epochs: int = 150,
    rate: float = 0.01,
    weight_decay: float = 5e-3,
) -> list[Tensor]:
    """Train a network to tell the classes of some nodes, and return its outputs after every step, `(N, C)`.

    The loss is the mean over all steps, so that early ones are of use and the later ones keep what they have. The
    weights are those of the epoch that is best in validation, after its last step.

    Args:
        network: with `iterate(x, edge_index, steps=...)`, as `PIGN`.
        x: features, `(N, D)`.
        edge_index: int64 `(2, E)`.
        classes: int64 `(N,)`.
        train: nodes whose classes are in the loss, int64.
        validate: nodes that choose the epoch, int64.
        steps: of the iteration.
        epochs: of Adam, on all nodes at once.
        rate: of Adam.
        weight_decay: of Adam.

    Raises:
        ValueError: there is no node to train on, or none to validate with.
    """
    if not len(train) or not len(validate):
        raise ValueError(f"{len(train)} nodes to train on and {len(validate)} to validate: pass at least one of both")
    optimizer = torch.optim.Adam(network.parameters(), rate, weight_decay=weight_decay)
    best_score = -1.0
    best_outputs: list[Tensor] = []
    best_weights: dict[str, Tensor] = {}
    for _ in range(epochs):
        outputs = network.train().iterate(x, edge_index, steps=steps)
        losses = [functional.cross_entropy(output[train], classes[train]) for output in outputs]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
        with torch.no_grad():
            outputs = network.eval().iterate(x, edge_index, steps=steps)
        score = measure_accuracy(outputs[-1], classes, validate)
        if score >= best_score:
            best_score, best_outputs = score, list(outputs)
            best_weights = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best_weights)
    return best_outputs


def measure_accuracy(output: Tensor, classes: Tensor, nodes: Tensor) -> float:
    """Return the share of nodes whose largest output `(N, C)` is that of their class."""
    return float((output.argmax(1) == classes)[nodes].float().mean())
