"""Sequences of states that are unpacked, or joined, only where somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree, tree_map


class RowStates(Sequence[Tree]):
    """States that are their own inputs, unpacked from rows when asked for."""

    def __init__(self, layout: RowLayout, rows: Tensor) -> None:
        self.layout = layout
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            return RowStates(self.layout, self.rows[index])
        return self.layout.unpack(self.rows[index])


def copy_states(states: Sequence[Tree]) -> Sequence[Tree]:
    """The same states, in memory of their own: a state may be a view into a whole window, which would live on."""
    if isinstance(states, RowStates):
        return RowStates(states.layout, states.rows.clone())
    return [tree_map(torch.clone, state) for state in states]


def stack_states(states: Sequence[Tree]) -> Tree:
    """States as one tree, with a leading axis over them; without unpacking those that lie in rows."""
    parts = states.parts if isinstance(states, JoinedStates) else [states]
    found = [part.layout.unpack(part.rows) if isinstance(part, RowStates) else _piled(part) for part in parts]
    return found[0] if len(found) == 1 else pytree.tree_map(_cat, *found)


def _piled(states: Sequence[Tree]) -> Tree:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *states)


def _cat(*leaves: Any) -> Any:
    return torch.cat(leaves) if isinstance(leaves[0], Tensor) else leaves[0]


class JoinedStates(Sequence[Tree]):
    """Sequences one after another, without unpacking them."""

    def __init__(self, *parts: Sequence[Tree]) -> None:
        nested = [part.parts if isinstance(part, JoinedStates) else [part] for part in parts]
        self.parts: list[Sequence[Tree]] = [part for inner in nested for part in inner if len(part)]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return JoinedStates(*self._cut(first, last))
        index = range(len(self))[index]
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise AssertionError("an index within the length lies in a part")

    def _cut(self, first: int, last: int) -> list[Sequence[Tree]]:
        found = []
        for part in self.parts:
            found.append(part[max(first, 0) : max(last, 0)])
            first, last = first - len(part), last - len(part)
        return found
