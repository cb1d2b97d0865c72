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


def join_trees(join: Callable[[list[Tensor]], Tensor], trees: Sequence[Tree]) -> Tree:
    """Return one tree for many, their tensors joined.

    Raises:
        ValueError: they differ in structure, in a plain value, or in the dtype of a tensor.
    """
    first = trees[0]
    if isinstance(first, Tensor):
        return join(_require_tensors(trees, first.dtype))
    leaves, spec = pytree.tree_flatten(first)
    columns = zip(*(spec.flatten_up_to(tree) for tree in trees), strict=True)
    joined: list[Any] = []
    for leaf, column in zip(leaves, columns, strict=True):
        if isinstance(leaf, Tensor):
            joined.append(join(_require_tensors(column, leaf.dtype)))
        elif any(value is not leaf and value != leaf for value in column):
            raise ValueError("a plain value is another in some of the trees")
        else:
            joined.append(leaf)
    return pytree.tree_unflatten(joined, spec)


def _require_tensors(column: Sequence[Any], dtype: torch.dtype) -> list[Tensor]:
    try:
        dtypes = {value.dtype for value in column}
    except AttributeError:
        dtypes = set()
    if dtypes != {dtype}:
        raise ValueError("a tensor is of another kind in some of the trees")
    return list(column)


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
