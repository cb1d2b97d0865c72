"""Recall: the outputs of the last tick as the guess of this one's whole path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.guesses import Guess, KnownPrefix, sweep_on
from forerun.engine.methods import Evaluate
from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class Recall(Guess):
    """Outputs known beforehand; later slots follow their trend from the newest output.

    Args:
        outputs: `(length, B, H, A)`; zeros are as good as any where nothing is known.
        trusted: `(B, 1)`, one where the trend is worth following, else zero; may change while a run goes on.
    """

    outputs: Tensor
    trusted: Tensor

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        rows = self.rows(edge, edge.start, stop - 1)
        if edge.outputs is not None:
            rows = edge.outputs[-1] + self.trusted * (rows - self.rows(edge, edge.start - 1, edge.start))
        return sweep_on(edge, rows)

    def rows(self, edge: KnownPrefix, start: int, stop: int) -> Tensor:
        """The known outputs of some steps as rows."""
        edge.problem.pack_output(self.outputs[0])  # learns the layout, where nothing was evaluated yet
        return edge.problem.output_layout.pack(self.outputs[start:stop], max(stop - start, 0))


def moved(chunks: Tensor, by: int) -> Tensor:
    """Chunks `(..., H, A)` moved `by` actions to the front, the last action repeated at the end."""
    last = chunks[..., -1:, :].expand(*chunks.shape[:-2], by, chunks.shape[-1])
    return torch.cat([chunks[..., by:, :], last], -2)
