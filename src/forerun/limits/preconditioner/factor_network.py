"""FactorNetwork: a network on the graph of a matrix, whose edges become the entries of a triangular factor.

Messages go along the entries of the lower triangle, and are summed apart over earlier and later neighbours of a node:
elimination has an order.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from forerun.limits.preconditioner.lower_pattern import LowerPattern

NODE_FEATURES = 5
EDGE_FEATURES = 2


@final
class FactorNetwork(nn.Module):
    """Scaled entries of a matrix to a factor of the same pattern; the same weights for every size.

    Args:
        width: of nodes' and edges' states.
        rounds: of messages; how far a node sees.
    """

    def __init__(self, width: int = 16, rounds: int = 4) -> None:
        super().__init__()
        if width < 1 or rounds < 1:
            raise ValueError(f"FactorNetwork(width={width}, rounds={rounds}) sees nothing; pass 1 or more of both")
        self.width = width
        self.encode_nodes = _make_layers(NODE_FEATURES, width, width)
        self.encode_edges = _make_layers(EDGE_FEATURES, width, width)
        self.edge_rounds = nn.ModuleList([_make_layers(3 * width, width, width) for _ in range(rounds)])
        self.node_rounds = nn.ModuleList([_make_layers(3 * width, width, width) for _ in range(rounds)])
        self.decode_nodes = _make_layers(width, width, 1)
        self.decode_edges = _make_layers(3 * width, width, 1)
        for decoder in (self.decode_nodes, self.decode_edges):
            for parameter in decoder[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, pattern: LowerPattern) -> tuple[Tensor, Tensor]:
        """Return the diagonal `(N,)` and the entries `(E,)` of a factor of the scaled matrix.

        Without training it is the symmetric Gauss-Seidel factor: ones, and the entries of the matrix.
        """
        entries = pattern.entries.to(next(self.parameters()).dtype)
        nodes = self.encode_nodes(describe_nodes(pattern, entries))
        edges = self.encode_edges(torch.stack([entries, entries.square()], 1))
        for update_edges, update_nodes in zip(self.edge_rounds, self.node_rounds, strict=True):
            ends = (nodes[pattern.rows], nodes[pattern.columns])
            edges = edges + update_edges(torch.cat([edges, *ends], 1))
            sums = (pattern.sum_rows(edges), pattern.sum_columns(edges))
            nodes = nodes + update_nodes(torch.cat([nodes, *sums], 1))
        diagonal = self.decode_nodes(nodes).squeeze(1).exp()
        ends = (nodes[pattern.rows], nodes[pattern.columns])
        change = self.decode_edges(torch.cat([edges, *ends], 1)).squeeze(1)
        return diagonal, entries * (1 + change)


def describe_nodes(pattern: LowerPattern, entries: Tensor) -> Tensor:
    """Return what a node sees of its row, `(N, 5)`: sums over earlier and later neighbours, and of the whole row."""
    before, after = pattern.sum_rows(entries), pattern.sum_columns(entries)
    squares = entries.square()
    return torch.stack([before, after, pattern.sum_rows(squares), pattern.sum_columns(squares), 1 + before + after], 1)


def _make_layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
