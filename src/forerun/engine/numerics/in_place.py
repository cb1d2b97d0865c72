"""Changes in place: whether a function changed the tensors that it was given, by their versions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


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
