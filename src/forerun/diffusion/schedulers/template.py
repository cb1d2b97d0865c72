"""What an unmodified scheduler keeps between its steps, as tensors that a state can carry.

A scheduler's `step` writes on the scheduler: an index, flags, a few earlier outputs. All but the tensors depends on
the number of the step alone, never on the sample. So a scheduler before a step is a `SchedulerTemplate` with places
for the tensors, and a history that fills them.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.schedulers.quirks import allow_unscaled_input, own_attributes

SEQUENCES = {list, tuple}


@dataclass(frozen=True)
class HistorySlot:
    """The place of a tensor of the history."""

    index: int


SHARED_LEAVES = (int, float, complex, str, bytes, type(None), HistorySlot)


@dataclass(frozen=True)
class SchedulerTemplate:
    """The attributes of a scheduler before one step, a `HistorySlot` where each tensor of the history is."""

    kind: type
    attributes: Mapping[str, Any]
    count: int  # slots

    @classmethod
    def from_scheduler(
        cls,
        scheduler: Any,
        shape: Sequence[int],
    ) -> tuple[SchedulerTemplate, list[Tensor]]:
        """Return the template of a scheduler, and its history: every tensor of the sample's shape."""
        size = torch.Size(shape)
        history: list[Tensor] = []

        def take_out(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or leaf.shape != size:
                return leaf
            history.append(leaf)
            return HistorySlot(len(history) - 1)

        attributes = map_attributes(take_out, own_attributes(scheduler))
        template = cls(type(scheduler), attributes, len(history))
        return template, history

    def isolate(self) -> SchedulerTemplate:
        """Return the template with copies of its tensors, generators and objects, so that steps move none of them."""
        attributes = map_attributes(_copy_leaf, self.attributes)
        return SchedulerTemplate(self.kind, attributes, self.count)

    def fill(self, history: Sequence[Tensor]) -> Any:
        """Return a scheduler with this history, free to be stepped: nothing that `step` changes is shared."""

        def put_in(leaf: Any) -> Any:
            return history[leaf.index] if isinstance(leaf, HistorySlot) else leaf

        scheduler: Any = object.__new__(self.kind)
        attributes = map_attributes(put_in, self.attributes)
        vars(scheduler).update(attributes)
        allow_unscaled_input(scheduler)
        return scheduler

    def list_leaves(self) -> list[Any]:
        """Return the leaves of the attributes: all but the containers."""
        leaves: list[Any] = []
        map_attributes(leaves.append, self.attributes)
        return leaves

    def collect(self, scheduler: Any) -> list[Tensor]:
        """Return the history on a scheduler: the tensors where this template has its slots."""
        history: list[Tensor] = [torch.empty(0)] * self.count
        for name, pattern in self.attributes.items():
            _collect_slots(pattern, vars(scheduler)[name], history)
        return history


def map_attributes(
    function: Callable[[Any], Any],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return new attributes, with `function` applied to every leaf."""
    return {name: _map_leaves(function, value) for name, value in attributes.items()}


def _map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Return `function` of every leaf, in new lists, tuples, dicts and deques; other containers are leaves."""
    kind = type(value)
    if kind in SEQUENCES:
        return kind(_map_leaves(function, entry) for entry in value)
    if kind is dict:
        return map_attributes(function, value)
    if kind is deque:
        entries = [_map_leaves(function, entry) for entry in value]
        return deque(entries, value.maxlen)
    return function(value)


def _copy_leaf(leaf: Any) -> Any:
    """Return a copy of what a step could change in place; the leaf itself where it cannot be copied."""
    if isinstance(leaf, SHARED_LEAVES) or callable(leaf):
        return leaf
    if isinstance(leaf, Tensor):
        return leaf.clone()
    try:
        return copy.deepcopy(leaf)
    except Exception:  # an object that refuses to be copied may say so by any error
        return leaf


def _collect_slots(pattern: Any, value: Any, history: list[Tensor]) -> None:
    """Put the tensors of `value` that stand at the slots of `pattern` into the history."""
    if isinstance(pattern, HistorySlot):
        history[pattern.index] = value
    elif type(pattern) is dict:
        for key, inner in pattern.items():
            _collect_slots(inner, value[key], history)
    elif type(pattern) in {*SEQUENCES, deque}:
        for inner, entry in zip(pattern, value, strict=True):
            _collect_slots(inner, entry, history)
