"""LimitCheckpoint: what a search for a limit needs to go on, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forerun.engine.certificates import Certificate
from forerun.engine.checkpoint import read_fields, write_fields
from forerun.engine.limit_methods import LimitMethod
from forerun.engine.map_rows import MapRows
from forerun.engine.numerics.tree import describe_tree
from forerun.engine.search.ended import EndedProblems
from forerun.engine.search.state import LimitState
from forerun.engine.validation import ForeignCheckpoint

OTHER_MAP = 1e-3  # of the largest value: kernels differ by less, other data by more


@dataclass(frozen=True)
class LimitCheckpoint:
    """Where a search stands.

    Attributes:
        evaluations: so far.
        method: how the method describes itself; another one begins without its memory.
        certificates: likewise.
        values: the fields of the state of the search: tensors in dicts and tuples.
    """

    evaluations: int
    method: str
    certificates: str
    values: Mapping[str, Any]

    @classmethod
    def from_state(
        cls,
        state: LimitState,
        *,
        evaluations: int,
        method: LimitMethod,
        certificates: tuple[Certificate, ...],
    ) -> LimitCheckpoint:
        """Return the checkpoint of a state of a search."""
        values = {entry.name: getattr(state, entry.name) for entry in fields(state)}
        values["ended"] = {entry.name: getattr(state.ended, entry.name) for entry in fields(state.ended)}
        return cls(evaluations, repr(method), repr(certificates), values)

    @property
    def accepted(self) -> str:
        """What is in it, in words."""
        return f"{self.evaluations} evaluations are kept"

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, replacing it only when the new one is complete."""
        write_fields(path, {entry.name: getattr(self, entry.name) for entry in fields(self)})

    @classmethod
    def load(cls, path: str | Path, device: str | None = None) -> LimitCheckpoint:
        """Read what `save` wrote, onto `device`; by default every tensor onto the one it was on.

        Raises:
            ValueError: the file is not a checkpoint of a limit, is damaged, or was written by another version.
        """
        values = read_fields(path, device, cls.__name__)
        if values.keys() != {entry.name for entry in fields(cls)}:
            raise ValueError(f"{path} is a checkpoint of a solve, not of a limit; pass it to solve(resume=...)")
        return cls(**values)

    def restore_state(self, rows: MapRows, method: LimitMethod, certificates: tuple[Certificate, ...]) -> LimitState:
        """Return the state to go on from; what belongs to another method or certificate is left out.

        Raises:
            ForeignCheckpoint: its states are of another kind than those of the map.
        """
        first = self.values["ended"]["points"]
        refuse_other_rows(first, rows.first_points)
        state = LimitState(**{**self.values, "ended": EndedProblems(**self.values["ended"])})
        return state.without_memories(
            method=self.method != repr(method),
            certificates=None if self.certificates == repr(certificates) else len(certificates),
        )


def load_limit_checkpoint(resume: LimitCheckpoint | str | Path) -> LimitCheckpoint:
    """Return the checkpoint to go on from.

    Raises:
        TypeError: it is neither a checkpoint of a limit nor a file.
    """
    if isinstance(resume, LimitCheckpoint):
        return resume
    if not isinstance(resume, str | Path):
        raise TypeError(
            f"resume takes a LimitCheckpoint or its file, got {type(resume).__name__}; write resume=limit.checkpoint"
        )
    return LimitCheckpoint.load(resume)


def refuse_other_rows(points: Tensor, expected: Tensor) -> None:
    """Refuse points that are not rows as those of a map are."""
    is_same = points.shape == expected.shape and points.dtype == expected.dtype and points.device == expected.device
    if not is_same:
        raise ForeignCheckpoint(
            f"the checkpoint holds points {describe_tree(points)}, and this map has {describe_tree(expected)}. "
            "Resume with the map and the kind of state that wrote it, from another device by "
            "LimitCheckpoint.load(path, device)"
        )


def refuse_other_values(values: Tensor, expected: Tensor) -> None:
    """Refuse a map that gives other values than the one that wrote a checkpoint, `(A, D)`; nan is unknown."""
    change = torch.where(expected.isfinite() & values.isfinite(), values - expected, 0.0)
    size = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max()) if expected.numel() else 0.0
    largest = float(change.abs().max()) if change.numel() else 0.0
    if largest > OTHER_MAP * size:
        raise ForeignCheckpoint(
            f"the checkpoint belongs to another map: it gives another value now, by {largest:.2g} for values of up to "
            f"{size:.2g}. Resume with the map that wrote it, or begin again from its state: "
            "fixed_point(map, limit.state)"
        )
