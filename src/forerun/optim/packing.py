"""Packing: what optimisers and schedulers keep, as trees that a state can carry and a checkpoint can hold."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

from torch import Tensor

from forerun.engine.numerics.tree import Tree

PAIRS_KEY = "<pairs>"  # marks a dict whose keys are not all strings
DEQUE_KEY = "<deque>"  # marks a deque, with its maxlen
PLAIN_TYPES = (bool, int, float, str)
KEPT_TYPES = (Tensor, *PLAIN_TYPES)


def pack_value(value: Any) -> Tree:
    """Return `value` in plain dicts with string keys, lists and tuples; its tensors as they are, not copied."""
    if isinstance(value, dict):
        return _pack_dict(value)
    if type(value) in (list, tuple):
        return type(value)(pack_value(entry) for entry in value)
    if isinstance(value, deque):
        return {DEQUE_KEY: [pack_value(entry) for entry in value], "maxlen": value.maxlen}
    if value is None or isinstance(value, KEPT_TYPES):
        return value
    return copy.deepcopy(value)


def unpack_value(tree: Tree, like: Any = None) -> Any:
    """Return what was packed, with its tensors copied, so that nothing of the tree can be changed through it.

    Args:
        like: the value that is replaced; a dict of another class, such as a Counter, comes back as one.
    """
    if isinstance(tree, Tensor):
        return tree.clone()
    if isinstance(tree, dict) and DEQUE_KEY in tree:
        return deque((unpack_value(entry) for entry in tree[DEQUE_KEY]), tree["maxlen"])
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
    pairs = []
    for key, entry in value.items():
        pairs.append([key, pack_value(entry)])
    return {PAIRS_KEY: pairs}


def _unpack_dict(tree: dict[str, Tree], like: Any) -> dict[Any, Any]:
    entries = tree
    if PAIRS_KEY in tree:
        entries = dict(tree[PAIRS_KEY])
    previous = like if isinstance(like, dict) else {}
    values = {}
    for key, entry in entries.items():
        values[key] = unpack_value(entry, previous.get(key))
    if type(previous) is dict:
        return values
    same_class = copy.copy(previous)
    same_class.clear()
    same_class.update(values)
    return same_class


def _unpack_sequence(tree: Tree, like: Any) -> Any:
    kind = type(tree)
    previous = [None] * len(tree)
    if type(like) is kind and len(like) == len(tree):
        previous = like
    pairs = zip(tree, previous, strict=True)
    return kind(unpack_value(entry, value) for entry, value in pairs)
