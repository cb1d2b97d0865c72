"""Stochastic block models: graphs whose nodes have a class, a few neighbours, and the class's mean in noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelledGraph:
    """A graph with features and classes of its nodes.

    Attributes:
        x: features, `(N, D + 1)`; the last is 1 where a node has any.
        edge_index: int64 `(2, E)`, both directions of every edge.
        classes: int64 `(N,)`.
        order: int64 `(N,)`, the nodes in a random order, for splits.
    """

    x: Tensor
    edge_index: Tensor
    classes: Tensor
    order: Tensor


def draw_block_model(
    seed: int,
    *,
    nodes: int = 600,
    classes: int = 5,
    features: int = 16,
    noise: float = 1.0,
    masked: float = 0.0,
    degree: float = 5.0,
    assortativity: float = 0.8,
) -> LabelledGraph:
    """Return a graph of a stochastic block model.

    Args:
        seed: of everything that is drawn.
        nodes: their number.
        classes: of about the same size.
        features: of a node; the means of the classes are normal.
        noise: standard deviation of the features about the mean.
        masked: share of nodes without features.
        degree: edges of a node, on average.
        assortativity: share of them within the class.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (nodes,), generator=generator)
    inside = degree * assortativity * classes / nodes
    outside = degree * (1 - assortativity) * classes / (nodes * (classes - 1))
    chance = torch.where(labels[:, None] == labels, inside, outside)
    upper = torch.triu(torch.rand(nodes, nodes, generator=generator) < chance, 1)
    means = torch.randn(classes, features, generator=generator)
    x = means[labels] + noise * torch.randn(nodes, features, generator=generator)
    is_observed = (torch.rand(nodes, 1, generator=generator) >= masked).float()
    return LabelledGraph(
        x=torch.cat([x * is_observed, is_observed], 1),
        edge_index=(upper | upper.T).nonzero().T.contiguous(),
        classes=labels,
        order=torch.randperm(nodes, generator=generator),
    )
