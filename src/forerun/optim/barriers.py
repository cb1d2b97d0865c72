"""Barriers: steps before which the parameters change their shape, and which no window straddles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_map
from forerun.optim.packing import unpacked
from forerun.optim.parameters import Parameters

Moments = dict[str, Tree]
Change = Callable[[int, Tree, Moments], tuple[Tree, Moments | None]]


@dataclass(frozen=True)
class Barriers:
    """Steps before which a function changes the tree of parameters: densify, prune, refine a grid.

    Args:
        steps: before which the change is made; a collection of them, or a function that tells them.
        change: `change(step, params, moments) -> (params, moments)`. `params` is the tree of the loop (a module comes
            as a dict of its trained tensors); `moments` has a tree like it for everything that the optimisers keep in
            the shape of a parameter, by its name (`exp_avg`, `momentum_buffer`), and `average` where parameters are
            averaged, with None where there is nothing yet. What holds of one row of a parameter holds of its moments:
            the same function over both trees carries them along. Moments of None start the optimisers anew. It is
            called with the step's seed in force, and once for each barrier; meanwhile the user's objects hold the
            state before the step.
    """

    steps: Collection[int] | Callable[[int], bool]
    change: Change

    def due(self, step: int) -> bool:
        """Whether the change is made before this step."""
        return self.steps(step) if callable(self.steps) else step in self.steps

    def stop(self, start: int, end: int) -> int:
        """Where a stretch from `start` on ends: before the next barrier, or at the end."""
        return next((step for step in range(start + 1, end) if self.due(step)), end)


NOWHERE = Barriers((), lambda step, params, moments: (params, moments))


def changed(
    barriers: Barriers, step: int, state: Tree, *, parameters: Parameters, owned: Sequence[tuple[int, int]]
) -> Tree:
    """The state after a change.

    Args:
        owned: for every tensor, its optimiser and its place there.
    """
    count = len(state["params"])
    kept = [state["optimisers"][which]["state"][place] or {} for which, place in owned]
    names = sorted({name for entry, value in zip(kept, state["params"], strict=True) for name in _shaped(entry, value)})
    leaves = {
        name: [_shaped(entry, value).get(name) for entry, value in zip(kept, state["params"], strict=True)]
        for name in names
    }
    if state["average"]:
        leaves["average"] = state["average"]
    given = {name: parameters.tree(unpacked(each)) for name, each in leaves.items()}
    answer = barriers.change(step, parameters.tree(unpacked(state["params"])), given)
    params, moments = _answered(answer, given)
    tensors = [tensor.detach().clone() for tensor in parameters.leaves(params)]
    state = dict(state, params=tensors, changed=step)
    if moments is None:
        return _anew(state)
    carried = {name: parameters.leaves(tree) for name, tree in moments.items()}
    average = carried.pop("average", [])
    fresh = [{"groups": each["groups"], "state": list(each["state"])} for each in state["optimisers"]]
    for index in range(count):
        which, place = owned[index]
        if kept[index]:
            found = {name: each[index] for name, each in carried.items() if each[index] is not None}
            _require_shapes(parameters.labels[index], tensors[index], found)
            fresh[which]["state"][place] = {**kept[index], **tree_map(torch.clone, found)}
    return dict(state, optimisers=fresh, average=average)


def _shaped(entry: dict[str, Any], value: Tensor) -> dict[str, Tensor]:
    """What an optimiser keeps in the shape of a parameter."""
    return {
        name: each
        for name, each in entry.items()
        if isinstance(each, Tensor) and each.shape == value.shape and (each.dim() or name != "step")
    }


def _answered(answer: Any, given: Moments) -> tuple[Tree, Moments | None]:
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise TypeError(
            f"change returned {type(answer).__name__}, but must return parameters and moments: return params, moments"
        )
    params, moments = answer
    if moments is not None and set(moments) != set(given):
        raise ValueError(
            f"change was given the moments {sorted(given)} and returned {sorted(moments)}; return all of them, or None "
            "to start the optimisers anew"
        )
    return params, moments


def _anew(state: Tree) -> Tree:
    """Optimisers that have not stepped yet, and an average that begins here."""
    fresh = [{"groups": each["groups"], "state": [None] * len(each["state"])} for each in state["optimisers"]]
    average = [tensor.clone() for tensor in state["params"]] if state["average"] else []
    return dict(state, optimisers=fresh, average=average)


def _require_shapes(label: str, value: Tensor, moments: dict[str, Tensor]) -> None:
    for name, moment in moments.items():
        if moment.shape != value.shape:
            raise ValueError(
                f"change made {label} of shape {list(value.shape)}, but its {name} of {list(moment.shape)}; change "
                "both alike: tree_map(rows, params), tree_map(rows, moments)"
            )
