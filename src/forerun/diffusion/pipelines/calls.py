"""The calls that a pipeline makes of its networks: what goes in, what comes out, as leaves of trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.hooks import PendingCall


class NotUnderstood(Exception):
    """A step of the pipeline does something that the adapter cannot repeat; the message says what."""


@dataclass(frozen=True)
class Call:
    """A call of a network that a pipeline made: its output as it was, and as the pipeline got it, free to change."""

    name: str
    network: nn.Module
    asked: PendingCall
    output: Any
    handed: Any


def forgets(call: Call) -> None:
    """Refuse a network whose attention keeps what it saw for the pipeline, which would see another call's."""
    processors = getattr(call.network, "attn_processors", {})
    for processor in {id(each): each for each in processors.values()}.values():
        if any(isinstance(value, Tensor) for value in vars(processor).values()):
            kind = type(processor).__name__
            raise NotUnderstood(f"{call.name} keeps a tensor of every call, in its attention processor {kind}")


def tensors(tree: Any) -> list[Tensor]:
    """The tensors of what a network takes or returns."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def returned(output: Any, *, listed: bool) -> list[Tensor]:
    """The tensors of what a network returned; a list of rows is stacked to one."""
    found = tensors(output)
    return [torch.stack(found)] if listed else found


def like(output: Any, found: Sequence[Tensor], *, listed: bool) -> Any:
    """What a network returned once, with other tensors in it."""
    given = iter(found[0].unbind() if listed else found)
    return pytree.tree_map_only(Tensor, lambda leaf: next(given), output)


def flatten(
    args: Sequence[Any], kwargs: Mapping[str, Any], *, listed: bool
) -> tuple[list[tuple[str, Any]], pytree.TreeSpec]:
    """Arguments as leaves with their paths.

    A list without tensors is one leaf; so is any list where rows are handed over as lists (`listed`).
    """
    tree = ([_held(arg, listed) for arg in args], {name: _held(arg, listed) for name, arg in kwargs.items()})
    with_paths, spec = pytree.tree_flatten_with_path(tree, is_leaf=lambda node: isinstance(node, _Whole))
    flat = []
    for path, leaf in with_paths:
        keys = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        keys[0] = "args" if keys[0] == "0" else "kwargs"
        flat.append((".".join(keys), leaf.value if isinstance(leaf, _Whole) else leaf))
    return flat, spec


@dataclass(frozen=True)
class _Whole:
    """A list that is one argument, an entry for each row."""

    value: list[Any]


def _held(argument: Any, listed: bool) -> Any:
    whole = type(argument) is list and argument and (listed or not tensors(argument))
    return _Whole(argument) if whole else argument
