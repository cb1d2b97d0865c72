"""LinearOutputs: the outputs of a window, and how they are assumed to follow their inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.numerics.small_matrices import multiply_by_element, prefers_elements


def apply_slopes(slopes: Tensor, moves: Tensor) -> Tensor:
    """Return `S m` for scalar `(..., 1)`, diagonal `(..., D)` or dense `(..., E, D)` slopes and moves `(..., D)`."""
    if slopes.dim() == moves.dim():
        return slopes * moves
    if prefers_elements(slopes.shape[-1], slopes.numel(), slopes.device):
        return multiply_by_element(slopes, moves.unsqueeze(-1)).squeeze(-1)
    return torch.matmul(slopes, moves.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class LinearOutputs:
    """Outputs as functions of the input, `o_i + S_i (x - u_i)`.

    Attributes:
        outputs: `o`, `(W, *batch, E)`.
        inputs: `u`, `(W, *batch, D)`, at which the outputs were evaluated.
        slopes: `S`, scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, E, D)`; None for zero.
    """

    outputs: Tensor
    inputs: Tensor
    slopes: Tensor | None

    def __len__(self) -> int:
        return self.outputs.shape[0]

    def correct_outputs(self, moves: Tensor) -> Tensor:
        """Return the outputs at inputs that lie `moves` from those that were evaluated."""
        if self.slopes is None:
            return self.outputs
        return self.outputs + apply_slopes(self.slopes, moves)
