"""States, inputs and outputs are trees: tensors and plain values in dicts, lists and tuples.

The engine itself works on rows: a `RowLayout` packs the tensors of a tree into one tensor whose last
axis holds all elements, and unpacks them again. A single tensor packs into a view of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = Any


def tree_map(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Apply `function` to every tensor of `tree`; plain values pass through."""
    return function(tree) if isinstance(tree, Tensor) else pytree.tree_map_only(Tensor, function, tree)


def tree_tensors(tree: Tree) -> list[Tensor]:
    """The tensors of `tree`, in order."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def describe_tree(tree: Tree) -> str:
    """The tree in words, for error messages: `(float32 [3, 4], None)`; devices but for the CPU."""

    def describe_leaf(leaf: Any) -> BareWord:
        if isinstance(leaf, Tensor):
            return BareWord(describe_tensor(leaf.dtype, leaf.shape, leaf.device))
        return BareWord(repr(leaf))

    return repr(pytree.tree_map(describe_leaf, tree))


class BareWord(str):
    """A string that prints bare inside a container."""

    def __repr__(self) -> str:
        return str(self)


def describe_tensor(dtype: torch.dtype, shape: Sequence[int], device: torch.device) -> str:
    """Return a tensor in words, as `float32 [3, 4] on cuda:0`; the CPU is not named."""
    place = "" if device.type == "cpu" else f" on {device}"
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}{place}"
