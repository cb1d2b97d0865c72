"""Trees: states, inputs and outputs are tensors and plain values in dicts, lists and tuples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = Any


def tree_map(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Apply `function` to every tensor of `tree`; plain values pass through."""
    if isinstance(tree, Tensor):
        return function(tree)
    return pytree.tree_map_only(Tensor, function, tree)


def tree_tensors(tree: Tree) -> list[Tensor]:
    """Return the tensors of `tree`, in order."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def describe_tree(tree: Tree) -> str:
    """Return the tree in words, for error messages: `(float32 [3, 4], None)`; the CPU is not named."""

    def describe_leaf(leaf: Any) -> BareWord:
        if isinstance(leaf, Tensor):
            return BareWord(describe_tensor(leaf.dtype, leaf.shape, leaf.device))
        return BareWord(repr(leaf))

    return repr(pytree.tree_map(describe_leaf, tree))


def describe_tensor(dtype: torch.dtype, shape: Sequence[int], device: torch.device) -> str:
    """Return a tensor in words: `float32 [3, 4] on cuda:0`; the CPU is not named."""
    words = f"{str(dtype).removeprefix('torch.')} {list(shape)}"
    if device.type == "cpu":
        return words
    return f"{words} on {device}"


class BareWord(str):
    """A string that prints without quotes inside a container."""

    def __repr__(self) -> str:
        return str(self)
