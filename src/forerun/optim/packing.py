"""Packing: what optimisers and schedulers keep, as trees that a state can carry and a checkpoint can hold."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from forerun.engine.numerics.tree import Tree

PAIRS_KEY = "<pairs>"  # marks a dict whose keys are not all strings
PLAIN_TYPES = (bool, int, float, str)


def pack_value(value: Any) -> Tree:
    """Return `value` in plain dicts with string keys, lists and tuples; its tensors as they are, not copied."""
    if isinstance(value, dict):
        return _pack_dict(value)
    if type(value) in (list, tuple):
        return type(value)(pack_value(entry) for entry in value)
    if value is None or isinstance(value, Tensor | bool | int | float | str):
        return value
    return copy.deepcopy(value)


def unpack_value(tree: Tree, like: Any = None) -> Any:
    """Return what was packed, with its tensors copied, so that nothing of the tree can be changed through it.

    Args:
        like: the value that is replaced; a dict of another class, such as a Counter, comes back as one.
    """
    if isinstance(tree, Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        return _unpack_dict(tree, like)
    if type(tree) in (list, tuple):
        return _unpack_sequence(tree, like)
    if tree is None or isinstance(tree, PLAIN_TYPES):
        return tree
    return copy.deepcopy(tree)


def _pack_dict(value: dict[Any, Any]) -> Tree:
    if all(isinstance(key, str) for key in value):
        return {key: pack_value(entry) for key, entry in value.items()}
    return {PAIRS_KEY: [[key, pack_value(entry)] for key, entry in value.items()]}


def _unpack_dict(tree: dict[str, Tree], like: Any) -> dict[Any, Any]:
    entries = dict(tree[PAIRS_KEY]) if PAIRS_KEY in tree else tree
    previous = like if isinstance(like, dict) else {}
    values = {key: unpack_value(entry, previous.get(key)) for key, entry in entries.items()}
    if type(previous) is dict:
        return values
    same_class = copy.copy(previous)
    same_class.clear()
    same_class.update(values)
    return same_class


def _unpack_sequence(tree: Tree, like: Any) -> Any:
    previous = [None] * len(tree)
    if type(like) is type(tree) and len(like) == len(tree):
        previous = like
    return type(tree)(unpack_value(entry, value) for entry, value in zip(tree, previous, strict=True))
