"""What the evaluations of a step tell about its Jacobian, for the check.

Every step was evaluated several times on its way to acceptance. Broyden's update makes an estimate agree with
each difference of two evaluations in turn (Broyden 1965, "A class of methods for solving nonlinear simultaneous
equations"):

    J <- J + (do - J du) du^T / |du|^2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluated
from forerun.engine.sweep import apply

SMALL = 16  # rows up to this wide afford a full matrix, carried from step to step
WIDE = 1024  # wider rows, whose time is their memory's, get one scalar a step


@dataclass(frozen=True)
class Jacobian:
    """Estimates for a stretch of `n` steps, `J = B + sum_k w_k p_k^T`.

    Attributes:
        base: `B`, scalar, diagonal or dense slopes `(n, ...)`; None for zero.
        left: `w`, `(n, *batch, K, E)`.
        right: `p`, `(n, *batch, K, D)`.
    """

    base: Tensor | None
    left: Tensor
    right: Tensor

    @classmethod
    def without(cls, base: Tensor | None, like: Evaluated) -> Jacobian:
        """The base alone, for as many steps as it has."""
        left, right = (
            rows[: None if base is None else len(base)].unsqueeze(-2)[..., :0, :]
            for rows in (like.outputs, like.inputs)
        )
        return cls(base, left, right)

    def times(self, moves: Tensor) -> Tensor:
        """`J m` of moves `(n, *batch, D)`."""
        return self.beyond(moves) if self.base is None else self.beyond(moves) + apply(self.base, moves)

    def beyond(self, moves: Tensor) -> Tensor:
        """`(J - B) m`: what the base leaves out."""
        weights = (self.right @ moves.unsqueeze(-1)).transpose(-1, -2)
        return (weights @ self.left).squeeze(-2)

    def last(self) -> Jacobian:
        """The estimate of the last step, with a leading axis of 1, in memory of its own."""
        base = None if self.base is None else self.base[-1:].clone()
        return Jacobian(base, self.left[-1:].clone(), self.right[-1:].clone())

    def split(self) -> list[Jacobian]:
        """One estimate a step, each with a leading axis of 1."""
        return [
            Jacobian(None if self.base is None else self.base[index : index + 1], left, right)
            for index, (left, right) in enumerate(zip(self.left.split(1), self.right.split(1), strict=True))
        ]


def estimate(
    evaluations: Sequence[Evaluated], start: int, count: int, *, base: Tensor | None, before: Jacobian | None
) -> Jacobian | None:
    """The Jacobians of the steps `start .. start+count-1`; None where no step was evaluated twice.

    Args:
        evaluations: of the window, the newest first.
        base: slopes to begin with, one a step of the stretch; None for zero.
        before: the estimate of the step before `start`, with a leading axis of 1; None where there is none.
    """
    changes = _changes(evaluations, start, count)
    if changes is None:
        return None
    dense = base is not None and base.dim() > evaluations[0].inputs.dim()
    if changes[0].shape[-1] <= SMALL and not dense:
        return _carry(*changes, before)
    du, do = changes
    if du.shape[-1] != do.shape[-1]:
        return _per_step(du, do, base)
    scalar = _scalar(du, do)
    return scalar if du.shape[-1] > WIDE else _per_step(du, do, scalar.base if base is None else base)


def _changes(evaluations: Sequence[Evaluated], start: int, count: int) -> tuple[Tensor, Tensor] | None:
    """Differences of successive evaluations, the oldest first: `du` `(n, *batch, K, D)` and `do` `(n, *batch, K, E)`.

    Zero where a step was not evaluated twice; None where no step was.
    """
    inputs, outputs = [], []
    for newer, older in pairwise(each.since(start, count) for each in evaluations):
        both = min(len(newer), len(older))
        if not both:
            break
        inputs.append(_padded(newer.inputs[:both] - older.inputs[:both], count))
        outputs.append(_padded(newer.outputs[:both] - older.outputs[:both], count))
    if not inputs:
        return None
    return torch.stack(inputs[::-1], -2), torch.stack(outputs[::-1], -2)


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros((count - len(rows), *rows.shape[1:]))])


def _per_step(du: Tensor, do: Tensor, base: Tensor | None) -> Jacobian:
    """Each step by itself: a few updates of its base. A step evaluated once takes those of the step before it."""
    right = _directions(du)
    partial = Jacobian(base, do[..., :0, :], right[..., :0, :])
    for index in range(du.shape[-2]):
        left = do[..., index, :] - partial.times(du[..., index, :])
        left = torch.where(left.isfinite().all(-1, keepdim=True), left, 0.0)  # a base beyond all numbers
        partial = replace(
            partial, left=torch.cat([partial.left, left.unsqueeze(-2)], -2), right=right[..., : index + 1, :]
        )
    source = _sources(du)
    return replace(partial, left=partial.left[source], right=partial.right[source])


def _scalar(du: Tensor, do: Tensor) -> Jacobian:
    """The secant of the newest difference."""
    moved, changed = du[..., -1, :], do[..., -1, :]
    square = torch.linalg.vecdot(moved, moved)
    slopes = torch.where(square > 0, torch.linalg.vecdot(changed, moved) / square, 0.0).nan_to_num(0.0, 0.0, 0.0)
    return Jacobian(slopes.unsqueeze(-1)[_sources(du)], do[..., :0, :], du[..., :0, :])


def _sources(du: Tensor) -> Tensor:
    """For each step the nearest at or before it that was evaluated twice: int64 `(n,)`."""
    seen = du.abs().amax(-1).flatten(1).amax(1) > 0
    return torch.where(seen, torch.arange(len(du), device=du.device), -1).cummax(0).values.clamp_min(0)


def _carry(du: Tensor, do: Tensor, before: Jacobian | None) -> Jacobian:
    """A full matrix that goes on from step to step: neighbours share most of their Jacobian."""
    right = _directions(du)
    shape = (*du.shape[1:-2], do.shape[-1], du.shape[-1])
    matrix = du.new_zeros(shape) if before is None or before.base is None else before.base[0]
    found = []
    for step in range(len(du)):
        for index in range(du.shape[-2]):
            surprise = do[step, ..., index, :] - apply(matrix, du[step, ..., index, :])
            matrix = matrix + surprise.unsqueeze(-1) * right[step, ..., index, :].unsqueeze(-2)
        found.append(matrix)
    return Jacobian(torch.stack(found), do[..., :0, :], right[..., :0, :])


def _directions(du: Tensor) -> Tensor:
    """`du / |du|^2`, zero where the step did not move (to rounding)."""
    square = du.square().sum(-1, keepdim=True)
    return torch.where(square > torch.finfo(du.dtype).tiny, du / square, 0.0)
