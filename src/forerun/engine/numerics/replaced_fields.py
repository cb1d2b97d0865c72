"""Copies of frozen dataclasses with other values in some fields, without the loops of `dataclasses.replace`."""

from __future__ import annotations

from typing import Any, TypeVar

Frozen = TypeVar("Frozen")


def replace_fields(instance: Frozen, **changes: Any) -> Frozen:
    """Return a copy of a frozen dataclass without `__post_init__`, with these values in the fields named."""
    fields = vars(instance)
    assert changes.keys() <= fields.keys(), f"{type(instance).__name__} has no {changes.keys() - fields.keys()}"
    copied = object.__new__(type(instance))
    vars(copied).update(fields, **changes)
    return copied
