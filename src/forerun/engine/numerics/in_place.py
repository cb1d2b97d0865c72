"""Changes in place: whether a function changed the tensors that it was given, by their versions and their values."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any, Final, final

import torch
from torch import Tensor

COMPARED_ELEMENTS: Final = 2**12  # of each tensor: what works in place changes more than a few


class ChangedInPlace(ValueError):
    """Raised where evaluate or advance changed what it was given; no checkpoint can be trusted then."""


def read_version(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place; 0 in inference mode, which does not count."""
    if tensor.is_inference():
        return 0
    return tensor._version


def read_versions(tensors: Sequence[Tensor]) -> list[int]:
    """Return how often each of some tensors was changed in place."""
    return [read_version(tensor) for tensor in tensors]


@final
class InPlaceWatch:
    """Tells whether the calls of one function change what they are given.

    Versions are compared at every call. They miss what goes through `.data`, numpy and inference mode, so that the
    values of some elements are compared too, at the calls 1, 2, 4, 8 and so on.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._versions: list[int] = []
        self._values: list[Tensor] = []

    def begin_call(self, tensors: Sequence[Tensor]) -> None:
        """Remember what a call is given."""
        self._calls += 1
        self._versions = read_versions(tensors)
        is_compared = not self._calls & (self._calls - 1)
        self._values = []
        if is_compared and not any(tensor.is_meta for tensor in tensors):
            self._values = [_select_values(tensor).clone() for tensor in tensors]

    def is_changed(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether the call changed what it was given."""
        if read_versions(tensors) != self._versions:
            return True
        for tensor, values in zip(tensors, self._values, strict=False):
            if not torch.equal(_select_values(tensor).nan_to_num(), values.nan_to_num()):
                return True
        return False


def hold_same_leaves(leaves: Sequence[Any], leaves_now: Sequence[Any]) -> bool:
    """Return whether a tree holds the very leaves that it held, so that no container of it was changed in place."""
    return len(leaves) == len(leaves_now) and all(map(is_, leaves, leaves_now))


def _select_values(tensor: Tensor) -> Tensor:
    """Return some elements of a tensor, in one row; a view where that can be."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(-(-len(flat) // COMPARED_ELEMENTS), 1)]
