"""Packing: what optimisers and schedulers keep, as trees that a state can carry and a checkpoint can hold."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from forerun.engine.numerics.tree import Tree

PAIRS = "<pairs>"  # stands for a dict whose keys are no strings


def packed(value: Any) -> Tree:
    """`value` in plain dicts with string keys, lists and tuples. Tensors are handed out as they are, not copied."""
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: packed(entry) for key, entry in value.items()}
        return {PAIRS: [[key, packed(entry)] for key, entry in value.items()]}
    if type(value) in (list, tuple):
        return type(value)(packed(entry) for entry in value)
    if value is None or isinstance(value, Tensor | bool | int | float | str):
        return value
    return copy.deepcopy(value)


def unpacked(tree: Tree, like: Any = None) -> Any:
    """What was packed, its tensors copied, so that nothing of the tree can be changed through it.

    Args:
        like: what stands there now; a dict of another class, such as a Counter, comes back as one.
    """
    if isinstance(tree, Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        entries = dict(tree[PAIRS]) if PAIRS in tree else tree
        known = like if isinstance(like, dict) else {}
        found = {key: unpacked(entry, known.get(key)) for key, entry in entries.items()}
        if type(known) is dict:
            return found
        other = copy.copy(known)
        other.clear()
        other.update(found)
        return other
    if type(tree) in (list, tuple):
        known_list = like if type(like) is type(tree) and len(like) == len(tree) else [None] * len(tree)
        return type(tree)(unpacked(entry, known) for entry, known in zip(tree, known_list, strict=True))
    return tree if tree is None or isinstance(tree, bool | int | float | str) else copy.deepcopy(tree)
