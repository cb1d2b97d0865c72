"""Checkpoint: what a run needs to go on, in one safetensors file with JSON beside the tensors; never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from forerun.engine.numerics.tree import Tree, describe_tree


@dataclass(frozen=True)
class Checkpoint:
    """The accepted part of a run.

    Attributes:
        step: number of accepted steps.
        length: steps of the process it belongs to.
        state: the exact state of step `step`.
        shadow: where the check estimates the sequential run to be; None where nothing was checked, or `exact`.
        ahead: input rows `(W, *batch, D)` guessed for the steps from `step` on; None where there are none.
        rounds: rounds so far.
        evaluations: evaluations so far.
        exact: every step so far was taken from its exact state, as in the sequential run.
    """

    step: int
    length: int
    state: Tree
    shadow: Tree = None
    ahead: Tensor | None = None
    rounds: int = 0
    evaluations: int = 0
    exact: bool = True

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, replacing it only when the new one is complete.

        Raises:
            TypeError: the state holds something other than tensors, numbers, strings, None, dicts, lists and tuples.
        """
        found: dict[str, Tensor] = {}
        written = {entry.name: _write(getattr(self, entry.name), found) for entry in fields(self)}
        partial = Path(f"{path}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        save_file(found, partial, metadata={"forerun": json.dumps(written)})
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path, device: str | None = None) -> Checkpoint:
        """Read what `save` wrote, onto `device`; by default every tensor onto the one it was on.

        Raises:
            ValueError: the file is not a checkpoint of forerun.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file ({error}); pass one that save() wrote") from error
        if "forerun" not in metadata:
            raise ValueError(f"{path} holds tensors but no checkpoint of forerun; pass a file that save() wrote")
        written = json.loads(metadata["forerun"])
        return cls(**{name: _read(entry, found, device) for name, entry in written.items()})


def _write(value: Any, found: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go to `found`, without sharing memory, as safetensors asks."""
    if isinstance(value, Tensor):
        name = str(len(found))
        found[name] = value.detach().clone().contiguous()
        return {"tensor": name, "device": str(value.device)}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_write(entry, found) for entry in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _write(entry, found) for key, entry in value.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    raise TypeError(
        f"a checkpoint cannot hold {describe_tree(value)} of type {type(value).__name__}: files hold tensors, numbers, "
        "strings, None, lists, tuples and dicts with string keys; carry the state as one of these"
    )


def _read(entry: dict[str, Any], found: dict[str, Tensor], device: str | None) -> Any:
    (kind, value), *_ = entry.items()
    if kind == "tensor":
        return found[value].to(device or entry["device"])
    if kind == "dict":
        return {key: _read(inner, found, device) for key, inner in value.items()}
    if kind in {"list", "tuple"}:
        inside = [_read(inner, found, device) for inner in value]
        return tuple(inside) if kind == "tuple" else inside
    return value
