"""GraphOperator: the symmetrically normalised adjacency of a graph, as an operator on node features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GraphOperator:
    """`D_in^-1/2 (A + I) D_out^-1/2`, of norm at most 1 (Kipf and Welling, ICLR 2017; by Schur's test).

    Attributes:
        sources: int64 `(E,)`, of edges and of one loop for each node.
        targets: int64 `(E,)`.
        weights: `(E, 1)`.
        nodes: their number.
    """

    sources: Tensor
    targets: Tensor
    weights: Tensor
    nodes: int

    @classmethod
    def from_edges(
        cls, edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> GraphOperator:
        """Return the operator of a graph as torch-geometric has it.

        Args:
            edge_index: int64 `(2, E)`, sources and targets; both directions of an undirected edge.
            nodes: how many there are.
            edge_weight: `(E,)`, not negative; ones where left out.
            dtype: of the features.

        Raises:
            ValueError: the edges are of another shape or kind, name nodes that are not there, or weigh less than 0.
        """
        refuse_edges(edge_index, nodes, edge_weight)
        loops = torch.arange(nodes, device=edge_index.device)
        sources, targets = torch.cat([edge_index, loops.expand(2, -1)], 1)
        ones = torch.ones(nodes, dtype=dtype, device=edge_index.device)
        weights = ones.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight.to(dtype)
        weights = torch.cat([weights, ones])
        outgoing = torch.zeros_like(ones).index_add(0, sources, weights)
        incoming = torch.zeros_like(ones).index_add(0, targets, weights)
        weights = weights / (outgoing[sources] * incoming[targets]).sqrt()
        return cls(sources, targets, weights.unsqueeze(1), nodes)

    def propagate(self, features: Tensor) -> Tensor:
        """Return the sums over neighbours, `(N, D)` of `(N, D)`."""
        messages = self.weights * features[self.sources]
        return torch.zeros_like(features).index_add(0, self.targets, messages)


def refuse_edges(edge_index: Tensor, nodes: int, edge_weight: Tensor | None) -> None:
    """Refuse edges that are no graph on these nodes.

    Raises:
        ValueError: see the message.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            f"edge_index must be int64 of shape (2, E), got {edge_index.dtype} {list(edge_index.shape)}; write "
            "torch.tensor([sources, targets])"
        )
    lowest, highest = (int(edge_index.min()), int(edge_index.max())) if edge_index.numel() else (0, -1)
    if lowest < 0 or highest >= nodes:
        raise ValueError(
            f"edge_index names nodes {lowest} to {highest}, and the features have {nodes}; number nodes from 0, a row "
            "of features for each"
        )
    if edge_weight is None:
        return
    if edge_weight.shape != edge_index.shape[1:] or not bool((edge_weight >= 0).all()):
        raise ValueError(
            f"edge_weight must hold one number of at least 0 for each of {edge_index.shape[1]} edges, got "
            f"{list(edge_weight.shape)}; pass edge_weight.clamp_min(0) of shape (E,)"
        )
