"""Checkpoint: what a run needs to go on, in one safetensors file with JSON beside the tensors; never a pickle."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from forerun.engine.fingerprint import Fingerprint
from forerun.engine.numerics.tree import Tree, describe_tree

METADATA_KEY: Final = "forerun"  # of the JSON beside the tensors
FILE_VERSION: Final = 4  # of what the JSON holds; a file of another one is refused


@dataclass(frozen=True)
class Checkpoint:
    """The accepted part of a run.

    Attributes:
        step: number of accepted steps.
        length: steps of the process it belongs to.
        state: the exact state of step `step`.
        shadow: where the check estimates the sequential run to be; None where nothing was checked, or `exact`.
        check_memory: what the check goes on with, such as slopes and samples; None where nothing was checked.
        guessed_inputs: rows `(W, *batch, D)` for the steps from `step` on; None where there are none.
        rounds: rounds so far.
        evaluations: evaluations so far.
        exact: every step so far was taken from its exact state, as in the sequential run.
        fingerprint: by what `resume` knows the process again; None lets it go on with any.
        nonfinite_samples: samples `(*batch)` that the run goes on without, as something of theirs was not finite; None
            where there are none. What `state` holds of them means nothing.
    """

    step: int
    length: int
    state: Tree
    shadow: Tree = None
    check_memory: Mapping[str, Any] | None = None
    guessed_inputs: Tensor | None = None
    rounds: int = 0
    evaluations: int = 0
    exact: bool = True
    fingerprint: Fingerprint | None = None
    nonfinite_samples: Tensor | None = None

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, replacing it only when the new one is complete.

        Raises:
            TypeError: the state holds something other than tensors, numbers, strings, None, dicts, lists and tuples.
        """
        write_fields(path, {entry.name: getattr(self, entry.name) for entry in fields(self)})

    @classmethod
    def load(cls, path: str | Path, device: str | None = None) -> Checkpoint:
        """Read what `save` wrote, onto `device`; by default every tensor onto the one it was on.

        Raises:
            ValueError: the file is not a checkpoint of forerun, is damaged, or was written by another version.
        """
        values = read_fields(path, device, cls.__name__)
        if values.keys() != {entry.name for entry in fields(cls)}:
            raise ValueError(f"{path} is a checkpoint of a limit, not of a solve; pass it to fixed_point(resume=...)")
        return cls(**values)

    @property
    def accepted(self) -> str:
        """What is in it, in words."""
        return f"{self.step} steps are accepted"


def write_fields(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write the fields of a checkpoint to one safetensors file, replacing it only when the new one is complete."""
    tensors: dict[str, Tensor] = {}
    encoded = {name: _encode_value(value, tensors) for name, value in values.items()}
    content = json.dumps(encoded)
    record = {"version": FILE_VERSION, "checksum": _sum_content(content, tensors), "content": content}
    partial = Path(f"{path}.{uuid.uuid4().hex}.partial")  # another run may write to the same file
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(record)})
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_fields(path: str | Path, device: str | None, name: str) -> dict[str, Any]:
    """Return the fields that `write_fields` wrote, onto a device; by default every tensor onto the one it was on."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); pass one that save() wrote") from error
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path} holds tensors but no checkpoint of forerun; pass a file that save() wrote")
    encoded = _read_record(path, metadata[METADATA_KEY], tensors)
    try:
        return {key: _decode_value(entry, tensors, device) for key, entry in encoded.items()}
    except RuntimeError as error:  # such as a device that this machine does not have
        raise ValueError(f"{path} cannot be loaded ({error}); write {name}.load({str(path)!r}, 'cpu')") from error


def _read_record(path: str | Path, text: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a checkpoint, encoded, of a file that is whole and of this version."""
    try:
        record = json.loads(text)
        version, checksum, content = record["version"], record["checksum"], record["content"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"the checkpoint {path} is damaged, or of a version before {FILE_VERSION}: its record cannot be read; pass "
            "a file that save() wrote, such as an earlier copy, or begin again without resume="
        ) from None
    if version != FILE_VERSION:
        raise ValueError(
            f"the checkpoint {path} is of version {version}, and this forerun reads version {FILE_VERSION}; install "
            "the one that wrote it: pip install --upgrade forerun, or begin again without resume="
        )
    if checksum != _sum_content(content, tensors):
        raise ValueError(
            f"the checkpoint {path} is damaged: its checksum is another than when it was written; pass an earlier "
            "copy, or begin again without resume="
        )
    encoded: dict[str, Any] = json.loads(content)
    return encoded


def _sum_content(content: str, tensors: Mapping[str, Tensor]) -> int:
    """Return the checksum of a file's fields and of all bytes of its tensors."""
    checksum = zlib.crc32(str(content).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), checksum)
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        checksum = zlib.crc32(data.numpy().tobytes(), checksum)
    return checksum


def _encode_value(value: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return `value` for JSON as `{kind: content}`; its tensors are added to `tensors`."""
    if isinstance(value, Tensor):
        return _encode_tensor(value, tensors)
    if isinstance(value, Fingerprint):
        return {"fingerprint": _encode_items(_fingerprint_parts(value), tensors)}
    if type(value) in (list, tuple):
        items = [_encode_value(item, tensors) for item in value]
        return {type(value).__name__: items}
    if _is_named_dict(value):
        return {"dict": _encode_items(value, tensors)}
    if value is None or type(value) in (bool, int, float, str):
        return {"plain": value}
    raise TypeError(
        f"a checkpoint cannot hold {describe_tree(value)} of type {type(value).__name__}: files hold tensors, numbers, "
        "strings, None, lists, tuples and dicts with string keys; carry the state as one of these"
    )


def _is_named_dict(value: Any) -> bool:
    """Return whether a value is a dictionary whose keys are strings."""
    return type(value) is dict and all(isinstance(key, str) for key in value)


def _fingerprint_parts(fingerprint: Fingerprint) -> dict[str, Any]:
    return {entry.name: getattr(fingerprint, entry.name) for entry in fields(fingerprint)}


def _encode_items(values: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {key: _encode_value(item, tensors) for key, item in values.items()}


def _encode_tensor(tensor: Tensor, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Add a tensor to the others, without sharing memory, as safetensors asks, and return its name and device."""
    name = str(len(tensors))
    tensors[name] = tensor.detach().clone().contiguous()
    return {"tensor": name, "device": str(tensor.device)}


def _decode_value(
    entry: dict[str, Any],
    tensors: Mapping[str, Tensor],
    device: str | None,
) -> Any:
    """Return the value that `_encode_value` made the entry of."""
    kind, content = next(iter(entry.items()))
    if kind == "tensor":
        return tensors[content].to(device or entry["device"])
    if kind in {"dict", "fingerprint"}:
        values = {key: _decode_value(item, tensors, device) for key, item in content.items()}
        return values if kind == "dict" else Fingerprint(**values)
    if kind in {"list", "tuple"}:
        items = [_decode_value(item, tensors, device) for item in content]
        return items if kind == "list" else tuple(items)
    return content
