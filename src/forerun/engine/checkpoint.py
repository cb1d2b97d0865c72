"""Checkpoint: what a run needs to go on, in one safetensors file with JSON beside the tensors; never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from forerun.engine.tree import Tree, describe


@dataclass(frozen=True)
class Checkpoint:
    """The accepted part of a run.

    Attributes:
        step: number of accepted steps.
        length: steps of the process it belongs to.
        state: the exact state of step `step`.
        shadow: where the check estimates the sequential run to be; None where nothing was checked.
        ahead: input rows `(W, *batch, D)` guessed for the steps from `step` on; None where there are none.
        rounds: rounds so far.
        evaluations: evaluations so far.
    """

    step: int
    length: int
    state: Tree
    shadow: Tree = None
    ahead: Tensor | None = None
    rounds: int = 0
    evaluations: int = 0

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, replacing it only when the new one is complete.

        Raises:
            TypeError: the state holds something other than tensors, numbers, strings, None, dicts, lists and tuples.
        """
        found: dict[str, Tensor] = {}
        written = {entry.name: _write(getattr(self, entry.name), found) for entry in fields(self)}
        partial = Path(path).with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        save_file(found, partial, metadata={"forerun": json.dumps(written)})
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Checkpoint:
        """Read what `save` wrote, onto `device`.

        Raises:
            ValueError: the file is not a checkpoint of forerun.
        """
        with safe_open(str(path), framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            if "forerun" not in metadata:
                raise ValueError(f"{path} holds tensors but no checkpoint of forerun; pass a file that save() wrote")
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return cls(**{name: _read(entry, found) for name, entry in json.loads(metadata["forerun"]).items()})


def _write(value: Any, found: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go to `found`, without sharing memory, as safetensors asks."""
    if isinstance(value, Tensor):
        name = str(len(found))
        found[name] = value.detach().clone().contiguous()
        return {"tensor": name}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_write(entry, found) for entry in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _write(entry, found) for key, entry in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    raise TypeError(
        f"a checkpoint cannot hold {describe(value)} of type {type(value).__name__}: files hold tensors, numbers, "
        "strings, None, lists, tuples and dicts with string keys; carry the state as one of these"
    )


def _read(entry: dict[str, Any], found: dict[str, Tensor]) -> Any:
    (kind, value), *_ = entry.items()
    if kind == "tensor":
        return found[value]
    if kind == "dict":
        return {key: _read(inner, found) for key, inner in value.items()}
    if kind in ("list", "tuple"):
        inside = [_read(inner, found) for inner in value]
        return tuple(inside) if kind == "tuple" else inside
    return value
