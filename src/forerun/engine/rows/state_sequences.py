"""RowStates and JoinedStates: sequences of states that are unpacked only where somebody looks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
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
        return self.rows.shape[0]

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            return RowStates(self.layout, self.rows[index])
        return self.layout.unpack(self.rows[index])


class JoinedStates(Sequence[Tree]):
    """Sequences of states one after another, without unpacking them."""

    def __init__(self, *sequences: Sequence[Tree]) -> None:
        self.sequences: list[Sequence[Tree]] = []
        for sequence in sequences:
            self.sequences += [inner for inner in _inner_sequences(sequence) if len(inner)]

    def __len__(self) -> int:
        return sum(map(len, self.sequences))

    @cached_property
    def _stops(self) -> list[int]:
        """The index after the last of every sequence, counted over all."""
        return list(accumulate(map(len, self.sequences)))

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return JoinedStates(*self._cut_sequences(start, stop))
        index = range(self._stops[-1] if self._stops else 0)[index]
        place = bisect_right(self._stops, index)
        return self.sequences[place][index - self._stops[place]]  # counted from the end of that sequence

    def _cut_sequences(self, start: int, stop: int) -> list[Sequence[Tree]]:
        """Return what lies from `start` to `stop` of every sequence."""
        cut = []
        for sequence in self.sequences:
            cut.append(sequence[max(start, 0) : max(stop, 0)])
            start -= len(sequence)
            stop -= len(sequence)
        return cut


def copy_states(states: Sequence[Tree]) -> Sequence[Tree]:
    """Return the states in memory of their own: a state may be a view into a whole window, which would live on."""
    if isinstance(states, RowStates):
        return RowStates(states.layout, states.rows.clone())
    return [tree_map(torch.clone, state) for state in states]


def stack_states(states: Sequence[Tree]) -> Tree:
    """Return the states as one tree, with a leading axis over them; without unpacking those that lie in rows."""
    trees = []
    for sequence in _inner_sequences(states):
        if isinstance(sequence, RowStates):
            trees.append(sequence.layout.unpack(sequence.rows))
        else:
            trees.append(pytree.tree_map(_stack_leaves, *sequence))
    if len(trees) == 1:
        return trees[0]
    return pytree.tree_map(_concatenate_leaves, *trees)


def _inner_sequences(states: Sequence[Tree]) -> list[Sequence[Tree]]:
    """Return the sequences that were joined, or the one that was not."""
    if isinstance(states, JoinedStates):
        return states.sequences
    return [states]


def _stack_leaves(*leaves: Any) -> Any:
    """Return tensors stacked; of plain values the first, as they are the same in every state."""
    if isinstance(leaves[0], Tensor):
        return torch.stack(leaves)
    return leaves[0]


def _concatenate_leaves(*leaves: Any) -> Any:
    """Return tensors one after another; of plain values the first."""
    if isinstance(leaves[0], Tensor):
        return torch.cat(leaves)
    return leaves[0]
