"""A random decision process, whose values are the limit of a contraction by its discount."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ACTIONS = 4
SPARSENESS = 20  # power of uniform numbers: most moves lead to a few states


def draw_values(states: int, discount: float, seed: int) -> Callable[[Tensor], Tensor]:
    """Return one step of value iteration, from values `(states,)` to the best that an action gives from each state."""
    generator = torch.Generator().manual_seed(seed)
    moves = torch.rand(ACTIONS, states, states, generator=generator, dtype=torch.float64) ** SPARSENESS
    moves = moves / moves.sum(-1, keepdim=True)
    rewards = torch.rand(ACTIONS, states, generator=generator, dtype=torch.float64)
    return lambda values: (rewards + discount * moves @ values).amax(0)
