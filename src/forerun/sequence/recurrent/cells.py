"""Cells: one step of a recurrence for many steps together, and its Jacobian, on rows of hidden state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree, tree_map

JACOBIAN_COLUMNS_AT_ONCE = 32


class Cell(ABC):
    """`h' = f(h, x)` on rows `(W, *batch, D)`, a row holding all tensors of a hidden state one after the other."""

    @abstractmethod
    def prepare_inputs(self, inputs: Tree) -> Tree:
        """Return what the inputs `(T, *batch, ...)` alone decide, once for all rounds; tensors `(T, *batch, ...)`."""

    @abstractmethod
    def step_rows(self, hidden: Tensor, prepared: Tree) -> Tensor:
        """Return the next rows `(W, *batch, D)`; differentiable in everything."""

    @abstractmethod
    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tree,
    ) -> tuple[Tensor, Tensor]:
        """Return the next rows, and with them `df / dh`, `(W, *batch, D, D)`."""


def jacobian_by_columns(cell: Cell, hidden: Tensor, prepared: Tree) -> Tensor:
    """Return the Jacobian of any cell, computed column by column in forward mode."""
    axes = torch.eye(hidden.shape[-1], dtype=hidden.dtype, device=hidden.device)

    def push_axis(axis: Tensor) -> Tensor:
        def step(rows: Tensor) -> Tensor:
            return cell.step_rows(rows, prepared)

        tangents = axis.expand_as(hidden)
        derivative: Tensor = torch.func.jvp(step, (hidden,), (tangents,))[1]
        return derivative

    columns = torch.func.vmap(push_axis, chunk_size=JACOBIAN_COLUMNS_AT_ONCE)(axes)
    return columns.movedim(0, -1)


@final
@dataclass(frozen=True)
class FunctionCell(Cell):
    """Any function `(h, x) -> h` of one step, for a batch; called with the steps of a window in its batch.

    Args:
        function: `h` a tree of tensors `(N, ...)`, `x` a tree of tensors `(N, ...)`.
        layout: of the hidden state, one batch axis.
    """

    function: Callable[[Any, Any], Any]
    layout: RowLayout

    def prepare_inputs(self, inputs: Tree) -> Tree:
        return inputs

    def step_rows(self, hidden: Tensor, prepared: Tree) -> Tensor:
        count, batch = hidden.shape[:2]
        flat_hidden = tree_map(_merge_steps, self.layout.unpack(hidden))
        flat_inputs = tree_map(_merge_steps, prepared)
        flat_result = self.function(flat_hidden, flat_inputs)

        def split_steps(leaf: Tensor) -> Tensor:
            steps: Tensor = leaf.unflatten(0, (count, batch))
            return steps

        return self.layout.pack(tree_map(split_steps, flat_result), count)

    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tree,
    ) -> tuple[Tensor, Tensor]:
        next_rows = self.step_rows(hidden, prepared)
        return next_rows, jacobian_by_columns(self, hidden, prepared)


def _merge_steps(leaf: Tensor) -> Tensor:
    """Return a leaf `(W, B, ...)` with its steps in the batch."""
    return leaf.flatten(0, 1)
