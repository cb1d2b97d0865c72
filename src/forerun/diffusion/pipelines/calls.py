"""The calls that a pipeline makes of its networks: what goes in, what comes out, as leaves of trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.watched_method import PendingCall

LEAF_TYPES = (Tensor, int, float, str, type(None))


class NotUnderstood(Exception):
    """A step of the pipeline does something that the adapter cannot repeat; the message says what."""


@dataclass(frozen=True)
class NetworkCall:
    """A call of a network that a pipeline made.

    Attributes:
        name: of the network among the components.
        network: that was called.
        request: the function and its arguments.
        output: as the network returned it.
        delivered: the output as the pipeline got it, free to change.
    """

    name: str
    network: nn.Module
    request: PendingCall
    output: Any
    delivered: Any


def refuse_attention_memory(call: NetworkCall) -> None:
    """Refuse a network whose attention keeps tensors for the pipeline, which would get those of another call."""
    processors = getattr(call.network, "attn_processors", {})
    distinct = {id(processor): processor for processor in processors.values()}
    for processor in distinct.values():
        attributes = vars(processor).values()
        if any(isinstance(value, Tensor) for value in attributes):
            kind = type(processor).__name__
            raise NotUnderstood(f"{call.name} keeps a tensor of every call, in its attention processor {kind}")


def widen(x: Tensor) -> Tensor:
    """Return a tensor in float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


def list_tensors(tree: Any) -> list[Tensor]:
    """Return the tensors of what a network takes or returns."""
    leaves = pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def output_tensors(output: Any, *, listed: bool) -> list[Tensor]:
    """Return the tensors of what a network returned; a list of rows is stacked to one."""
    tensors = list_tensors(output)
    return [torch.stack(tensors)] if listed else tensors


def fill_output(output: Any, tensors: Sequence[Tensor], *, listed: bool) -> Any:
    """Return what a network returned once, with other tensors in it."""
    if type(output) is tuple and len(output) == 1 and not listed and isinstance(output[0], Tensor):
        return (tensors[0],)
    rows = tensors[0].unbind() if listed else tensors
    replacements = iter(rows)
    return pytree.tree_map_only(Tensor, lambda leaf: next(replacements), output)


def has_plain_arguments(request: PendingCall) -> bool:
    """Return whether every argument of a call is a leaf: a tensor, a number, a word, or None."""
    arguments = [*request.args, *request.kwargs.values()]
    return all(isinstance(argument, LEAF_TYPES) for argument in arguments)


@dataclass(frozen=True)
class _ListArgument:
    """A list that is one argument, an entry for each row."""

    value: list[Any]


def flatten_arguments(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    listed: bool,
) -> tuple[list[tuple[str, Any]], pytree.TreeSpec]:
    """Return arguments as leaves with their paths, and how to put them together again.

    A list without tensors is one leaf; so is any list where rows are handed over as lists (`listed`).
    """
    positional = [_wrap_list(argument, listed) for argument in args]
    named = {name: _wrap_list(argument, listed) for name, argument in kwargs.items()}
    leaves, spec = pytree.tree_flatten_with_path(
        (positional, named),
        is_leaf=_is_wrapped,
    )
    return list(_name_leaves(leaves)), spec


def _name_leaves(leaves: Sequence[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    for path, leaf in leaves:
        first, *keys = path
        kind = "args" if _key_name(first) == "0" else "kwargs"
        names = map(_key_name, keys)
        name = ".".join([kind, *names])
        yield name, leaf.value if _is_wrapped(leaf) else leaf


def _key_name(key: Any) -> str:
    index = getattr(key, "idx", key)
    return str(getattr(key, "key", index))


def _is_wrapped(node: Any) -> bool:
    return isinstance(node, _ListArgument)


def _wrap_list(argument: Any, listed: bool) -> Any:
    if type(argument) is not list or not argument:
        return argument
    if listed or not list_tensors(argument):
        return _ListArgument(argument)
    return argument
