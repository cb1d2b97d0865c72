"""What the user changed while a step was looked at: anything that the plain loop would meet in its next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree

Structure = dict[str, Any]  # what a loop is built of, by what messages call it
HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def read_structure(tree: Tree, optimizers: Sequence[Optimizer]) -> Structure:
    """Return what the objects of a loop are built of: which tensors, trained or not, of which modules in which mode."""
    structure: Structure = {}
    keyed_leaves, _ = pytree.tree_flatten_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, nn.Module))
    for path, leaf in keyed_leaves:
        label = f"params{pytree.keystr(path)}"
        entries = _module_entries(label, leaf) if isinstance(leaf, nn.Module) else _tensor_entries(label, leaf)
        structure.update(entries)
    for number, optimizer in enumerate(optimizers):
        groups = [[id(tensor) for tensor in group["params"]] for group in optimizer.param_groups]
        structure[f"the parameters of optimiser {number}"] = groups
    return structure


def name_difference(before: Structure, after: Structure) -> str | None:
    """Return what messages call the first entry that differs; None where none does."""
    if before == after:
        return None
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return names[0]


def name_changed_state(before: Tree, after: Tree, labels: Sequence[str]) -> str | None:
    """Return what messages call that which differs between two carried states; None where nothing does.

    Args:
        before: `{"params": ..., "optimizers": ..., "schedulers": ...}`.
        after: the same, as the live objects hold it.
        labels: what the parameters are called.
    """
    if len(before["params"]) != len(after["params"]):
        return "which tensors are trained"
    for label, value, other in zip(labels, before["params"], after["params"], strict=True):
        if not is_same_tree(value, other):
            return label
    for value, other in zip(before["optimizers"], after["optimizers"], strict=True):
        if not is_same_tree(value["groups"], other["groups"]):
            return "the options of an optimiser"
        if not is_same_tree([value["state"], value.get("shared", {})], [other["state"], other.get("shared", {})]):
            return "what an optimiser keeps"
    if not is_same_tree(before["schedulers"], after["schedulers"]):
        return "a scheduler"
    return None


def is_same_tree(value: Tree, other: Tree) -> bool:
    """Return whether two trees hold the same values, tensors bit by bit."""
    leaves, spec = pytree.tree_flatten(value)
    other_leaves, other_spec = pytree.tree_flatten(other)
    if spec != other_spec:
        return False
    return all(_is_same_leaf(leaf, other_leaf) for leaf, other_leaf in zip(leaves, other_leaves, strict=True))


def _is_same_leaf(leaf: Any, other: Any) -> bool:
    if not isinstance(leaf, Tensor) or not isinstance(other, Tensor):
        return type(leaf) is type(other) and bool(leaf == other or leaf != leaf)
    if leaf.dtype != other.dtype or leaf.shape != other.shape or leaf.device != other.device:
        return False
    if leaf.data_ptr() == other.data_ptr() and leaf.stride() == other.stride():
        return True
    return torch.equal(leaf, other)


def _module_entries(label: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        part_label = f"{label}.{name}" if name else label
        yield f"the mode of {part_label}", (id(part), part.training)
        yield f"the hooks of {part_label}", [len(getattr(part, table, ())) for table in HOOK_TABLES]
    for name, tensor in module.named_parameters():
        yield from _tensor_entries(f"{label}.{name}", tensor)


def _tensor_entries(label: str, leaf: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(leaf, Tensor):
        return
    post_hooks = getattr(leaf, "_post_accumulate_grad_hooks", None) or {}
    yield f"requires_grad of {label}", (id(leaf), leaf.requires_grad)
    yield f"the dtype of {label}", (leaf.dtype, leaf.device)
    yield f"the hooks of {label}", (list(leaf._backward_hooks or {}), list(post_hooks))
