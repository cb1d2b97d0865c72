"""Cells: one step of a recurrence for many steps together, and its Jacobian, on rows of hidden state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods import Bound
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree, describe_tree
from forerun.sequence.recurrent.decompose import DecomposedCells

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

    def bound_states(self, start: Tensor) -> tuple[Bound, Bound] | None:
        """Return bounds that the elements of no state after `start` leave, lower and upper; None where none are known.

        Args:
            start: the first state, `(*batch, D)`.
        """
        return None


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


def restore_structure(state: Tree, layout: RowLayout) -> Tree:
    """Return a state in the structure of the first: lists and tuples are one, and dicts have the order of its keys."""
    if isinstance(state, Tensor):
        return state
    leaves, spec = pytree.tree_flatten(state)
    if spec == layout.spec:
        return state
    places = pytree.tree_unflatten(range(layout.spec.num_leaves), layout.spec)
    leaves = _match_leaves(state, places)
    return pytree.tree_unflatten(leaves, layout.spec)


def _match_leaves(state: Tree, places: Tree) -> list[Any]:
    """Return the leaves of a state in the order of the first state's structure.

    Raises:
        ValueError: there are other leaves, or other keys.
    """
    if isinstance(places, int) and not isinstance(state, Mapping | list | tuple):
        return [state]
    if _have_equal_keys(state, places):
        pairs = [(state[key], place) for key, place in places.items()]
    elif _have_equal_lengths(state, places):
        pairs = list(zip(state, places, strict=True))
    else:
        raise ValueError(
            f"the cell made {describe_tree(state)}, whose structure is not that of the first state; return the next "
            "state as h0 is: a tuple for a tuple, and a dict of the same keys"
        )
    leaves = []
    for inner, place in pairs:
        leaves += _match_leaves(inner, place)
    return leaves


def _have_equal_keys(state: Tree, places: Tree) -> bool:
    return isinstance(places, Mapping) and isinstance(state, Mapping) and places.keys() == state.keys()


def _have_equal_lengths(state: Tree, places: Tree) -> bool:
    are_sequences = isinstance(places, list | tuple) and isinstance(state, list | tuple)
    return are_sequences and len(places) == len(state)


@final
@dataclass(frozen=True)
class FunctionCell(Cell):
    """Any function `(h, x) -> h` of one step, for a batch; every step of a window is called with its own batch.

    `torch.func.vmap` carries the steps, so that the function sees the shapes that it sees in the plain loop: what it
    closes over may have an axis of samples, and samples may look at each other. What vmap refuses, such as a branch on
    values, cannot be evaluated so.

    Args:
        function: `h` a tree of tensors `(B, ...)`, `x` a tree of tensors `(B, ...)`.
        layout: of the hidden state, one batch axis.
    """

    function: Callable[[Any, Any], Any]
    layout: RowLayout

    def prepare_inputs(self, inputs: Tree) -> Tree:
        return inputs

    def step_rows(self, hidden: Tensor, prepared: Tree) -> Tensor:
        leaves, spec = pytree.tree_flatten(prepared)
        axes = tuple(0 if isinstance(leaf, Tensor) else None for leaf in leaves)

        def step(row: Tensor, *inputs: Any) -> Tensor:
            state = self.layout.unpack(row)
            result = self.function(state, pytree.tree_unflatten(inputs, spec))
            return self.layout.pack(restore_structure(result, self.layout))

        with DecomposedCells():
            rows: Tensor = torch.func.vmap(step, in_dims=(0, *axes))(hidden, *leaves)
        return rows

    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tree,
    ) -> tuple[Tensor, Tensor]:
        next_rows = self.step_rows(hidden, prepared)
        return next_rows, jacobian_by_columns(self, hidden, prepared)
