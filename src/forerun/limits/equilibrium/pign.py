"""PIGN: a graph network that is one operator, iterated (Picard iterations; Zappala et al., arXiv 2310.01618).

    h <- (1 - share) h + share relu(P h W + P x U + b),    |W| <= lipschitz < 1

`P` is the normalised adjacency, of norm at most 1, so that one limit exists and every first state goes there.
"""

from __future__ import annotations

from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.equilibrium.bounded_weights import bound_weights
from forerun.limits.equilibrium.equilibrium import Equilibrium
from forerun.limits.equilibrium.graph_operator import GraphOperator


@final
class PropagationCell(nn.Module):
    """One step on a graph: states from neighbours' states, with the nodes' features put in again.

    Args:
        width: of the states.
        lipschitz: bound of what a change of the states comes to in the value.
    """

    def __init__(self, width: int, lipschitz: float) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.mix.weight)  # at first states are averages over neighbourhoods, near ones the most
        bound_weights(self.mix, lipschitz)

    def forward(self, states: Tensor, drive: Tensor, graph: GraphOperator) -> Tensor:
        """Return the new states `(N, width)`; `drive` is what the features put in, `(N, width)`."""
        return torch.relu(graph.propagate(self.mix(states)) + drive)


@final
class PIGN(nn.Module):
    """A network on graphs whose layers are iterations of one operator; `net(data.x, data.edge_index)`.

        states = net.iterate(x, edge_index, steps=8)   # outputs after every step: a loss on all of them
        outputs = net(x, edge_index)                   # those of the limit, with implicit gradients; net.limit

    Args:
        features: of a node.
        outputs: of a node: classes, or values.
        width: of the states.
        share: of the new states in a step; the paper's smoothing. The bound alone makes it converge.
        lipschitz: below 1, so that the iteration contracts by at least `1 - share + share * lipschitz`.
        dropout: of the features, before the iteration, where they are the same in every step.
        throw: as for `Equilibrium`.
        options: how the limit is searched; `LimitOptions`.
        keywords: the options one by one.

    Raises:
        ValueError: the bound allows no contraction.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        width: int = 32,
        share: float = 1.0,
        lipschitz: float = 0.95,
        dropout: float = 0.0,
        throw: bool = True,
        options: LimitOptions | None = None,
        **keywords: Unpack[LimitKeywords],
    ) -> None:
        super().__init__()
        if not 0 < lipschitz < 1:
            raise ValueError(f"lipschitz={lipschitz} is not the constant of a contraction; pass one in (0, 1), as 0.95")
        self.width = width
        self.drop = nn.Dropout(dropout)
        self.encode = nn.Linear(features, width)
        cell = PropagationCell(width, lipschitz)
        search = LimitOptions.gather(options, keywords)
        self.iteration = Equilibrium(cell, share=share, throw=throw, options=search)
        self.decode = nn.Linear(width, outputs)

    @property
    def limit(self) -> Limit | None:
        """What is known of the last limit."""
        return self.iteration.limit

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Any:
        """Return the outputs `(N, outputs)` at the limit.

        Args:
            x: features, `(N, features)`.
            edge_index: int64 `(2, E)`.
            edge_weight: `(E,)`.
        """
        drive, graph = self._read_graph(x, edge_index, edge_weight)
        return self.decode(self.iteration(torch.zeros_like(drive), drive, graph))

    def iterate(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        *,
        steps: int,
    ) -> list[Tensor]:
        """Return the outputs after every step, from states of zero."""
        drive, graph = self._read_graph(x, edge_index, edge_weight)
        states = self.iteration.iterate(torch.zeros_like(drive), drive, graph, steps=steps)
        return [self.decode(state) for state in states]

    def _read_graph(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> tuple[Tensor, GraphOperator]:
        """Return what the features put into every step, `(N, width)`, and the graph."""
        if x.dim() != 2 or x.shape[1] != self.encode.in_features:
            raise ValueError(
                f"x has shape {list(x.shape)}, and this network takes (N, {self.encode.in_features}): a row for a node"
            )
        graph = GraphOperator.from_edges(edge_index, len(x), edge_weight, x.dtype)
        return self.encode(graph.propagate(self.drop(x))), graph
