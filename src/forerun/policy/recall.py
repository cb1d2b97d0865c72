"""The guess of a tick: the outputs of the tick before it, moved along the horizon."""

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

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        rows = self.pack_rows(prefix, prefix.start, stop - 1)
        if prefix.outputs is not None:
            previous_row = self.pack_rows(prefix, prefix.start - 1, prefix.start)
            rows = prefix.outputs[-1] + self.trusted * (rows - previous_row)
        return sweep_on(prefix, rows)

    def pack_rows(self, prefix: KnownPrefix, start: int, stop: int) -> Tensor:
        """Return the outputs of the steps `start .. stop-1` as rows."""
        prefix.problem.pack_output(self.outputs[0])  # learns the layout, where nothing was evaluated yet
        return prefix.problem.output_layout.pack(self.outputs[start:stop], max(stop - start, 0))


def shift_chunks(chunks: Tensor, actions: int) -> Tensor:
    """Return chunks `(..., H, A)` moved some actions to the front, the last action repeated at the end."""
    last_action = chunks[..., -1:, :]
    tail = last_action.expand(*chunks.shape[:-2], actions, chunks.shape[-1])
    return torch.cat([chunks[..., actions:, :], tail], -2)
