"""Memory of a window: how many steps fit some bytes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_tensors

ROWS_PER_STEP = 16  # rows of parameters that the engine holds for every step of a window
STATES_PER_STEP = 2  # states likewise


def fitting_width(memory: int, params: Sequence[Tensor], state: Tree) -> int:
    """Return how many steps of a window fit some bytes with their states and rows; one at least."""
    state_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tree_tensors(state))
    element_size = max(4, *(tensor.element_size() for tensor in params))
    row_bytes = sum(tensor.numel() for tensor in params) * element_size
    return max(memory // (STATES_PER_STEP * state_bytes + ROWS_PER_STEP * row_bytes), 1)
