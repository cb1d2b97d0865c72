"""A change of shape: the user's function over parameters and moments, and the state that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_map
from forerun.optim.barriers import Barriers, Moments
from forerun.optim.packing import unpack_value
from forerun.optim.parameters import Parameters

TensorEntry = dict[str, Any]  # what an optimiser keeps for one tensor, by name


def change_shapes(
    barriers: Barriers,
    step: int,
    state: Tree,
    *,
    parameters: Parameters,
    locations: Sequence[tuple[int, int]],
) -> Tree:
    """Return the state after the change that is due before a step.

    Args:
        barriers: the change.
        step: the step that follows.
        state: the state before it.
        parameters: which tensors stand where in the user's tree.
        locations: for every tensor, the index of its optimiser and its index in that one's carried state.

    Raises:
        TypeError: the change does not return parameters and moments.
        ValueError: its moments are not those that it was given, or not of the shapes of the parameters.
    """
    entries = _tensor_entries(state, locations)
    params = parameters.build_tree(unpack_value(state["params"]))
    moments = _moment_trees(state, entries, parameters)
    answer = barriers.change(step, params, moments)
    new_params, new_moments = _require_answer(answer, moments)

    leaves = parameters.split_tree(new_params)
    tensors = [tensor.detach().clone() for tensor in leaves]
    old_tensors = state["params"]
    state = dict(state, params=tensors, changed=step)
    if new_moments is None:
        return _restart_optimizers(state)

    leaves_by_name = {}
    for name, tree in new_moments.items():
        leaves_by_name[name] = parameters.split_tree(tree)
    average = leaves_by_name.pop("average", [])
    optimizers = [_copy_optimizer(optimizer) for optimizer in state["optimizers"]]
    for place, (optimizer, index) in enumerate(locations):
        if not entries[place]:
            continue
        names = _shaped_moments(entries[place], old_tensors[place])
        tensor_moments = _moments_at(place, leaves_by_name, names)
        _require_shapes(parameters.labels[place], tensors[place], tensor_moments)
        optimizers[optimizer]["state"][index] = {
            **entries[place],
            **tree_map(torch.clone, tensor_moments),
        }
    return dict(state, optimizers=optimizers, average=average)


def _tensor_entries(state: Tree, locations: Sequence[tuple[int, int]]) -> list[TensorEntry]:
    """Return what the optimisers keep for every tensor, nothing where they have not stepped yet."""
    entries = []
    for optimizer, index in locations:
        entry = state["optimizers"][optimizer]["state"][index]
        entries.append(entry or {})
    return entries


def _copy_optimizer(optimizer: Tree) -> dict[str, Any]:
    """Return an optimiser's carried state, whose entries can be replaced."""
    return dict(optimizer, state=list(optimizer["state"]))


def _moment_trees(
    state: Tree,
    entries: Sequence[TensorEntry],
    parameters: Parameters,
) -> Moments:
    """Return a tree like the parameters for everything that has their shape; zeros where there is nothing yet."""
    entry_pairs = zip(entries, state["params"], strict=True)
    moments_by_tensor = [_shaped_moments(entry, tensor) for entry, tensor in entry_pairs]
    names = {name for moments in moments_by_tensor for name in moments}
    leaves_by_name: dict[str, list[Any]] = {}
    for name in sorted(names):
        pairs = zip(moments_by_tensor, state["params"], strict=True)
        leaves_by_name[name] = [_moment_or_zeros(moments.get(name), tensor) for moments, tensor in pairs]
    if state["average"]:
        leaves_by_name["average"] = state["average"]
    trees = {}
    for name, leaves in leaves_by_name.items():
        trees[name] = parameters.build_tree(unpack_value(leaves))
    return trees


def _shaped_moments(entry: TensorEntry, tensor: Tensor) -> dict[str, Tensor]:
    """Return what an optimiser keeps in the shape of a parameter; the count of steps of a scalar is not a moment."""
    moments = {}
    for name, value in entry.items():
        if _is_moment(name, value, tensor):
            moments[name] = value
    return moments


def _is_moment(
    name: str,
    value: Any,
    tensor: Tensor,
) -> bool:
    if not isinstance(value, Tensor) or value.shape != tensor.shape:
        return False
    return value.dim() > 0 or name != "step"


def _moment_or_zeros(moment: Any, tensor: Tensor) -> Tensor:
    return moment if isinstance(moment, Tensor) else torch.zeros_like(tensor)


def _moments_at(place: int, leaves_by_name: dict[str, list[Any]], names: Iterable[str]) -> dict[str, Tensor]:
    """Return those of the moments of one tensor that its optimiser keeps."""
    return {name: leaves_by_name[name][place] for name in names}


def _require_answer(answer: Any, moments: Moments) -> tuple[Tree, Moments | None]:
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise TypeError(
            f"change returned {type(answer).__name__}, but must return parameters and moments: return params, moments"
        )
    new_params, new_moments = answer
    if new_moments is not None and set(new_moments) != set(moments):
        raise ValueError(
            f"change was given the moments {sorted(moments)} and returned {sorted(new_moments)}; return all of them, "
            "or None to start the optimisers afresh"
        )
    return new_params, new_moments


def _restart_optimizers(state: Tree) -> Tree:
    """Return a state whose optimisers have not stepped yet, and whose average begins here."""
    optimizers = []
    for optimizer in state["optimizers"]:
        entries = [None] * len(optimizer["state"])
        optimizers.append(dict(optimizer, state=entries, shared={}))
    average = []
    if state["average"]:
        average = [tensor.clone() for tensor in state["params"]]
    return dict(state, optimizers=optimizers, average=average)


def _require_shapes(
    label: str,
    tensor: Tensor,
    moments: dict[str, Tensor],
) -> None:
    for name, moment in moments.items():
        if moment.shape != tensor.shape:
            raise ValueError(
                f"change made {label} of shape {list(tensor.shape)}, but its {name} of {list(moment.shape)}; change "
                "both alike: tree_map(rows, params), tree_map(rows, moments)"
            )
