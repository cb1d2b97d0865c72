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

from forerun.engine.methods.base import StepEvaluations
from forerun.engine.rows import apply_slopes

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
    def without(cls, base: Tensor | None, inputs: Tensor, outputs: Tensor) -> Jacobian:
        """The base alone, for steps with rows like these."""
        return cls(base, outputs.unsqueeze(-2)[..., :0, :], inputs.unsqueeze(-2)[..., :0, :])

    @property
    def dense(self) -> bool:
        """Whether the base is a matrix a step."""
        return self.base is not None and self.base.dim() == self.left.dim()

    def times(self, moves: Tensor) -> Tensor:
        """`J m` of moves `(n, *batch, D)`."""
        return self.beyond(moves) if self.base is None else self.beyond(moves) + apply_slopes(self.base, moves)

    def beyond(self, moves: Tensor) -> Tensor:
        """`(J - B) m`: what the base leaves out."""
        weights = (self.right @ moves.unsqueeze(-1)).transpose(-1, -2)
        return (weights @ self.left).squeeze(-2)

    def at(self, index: int) -> Jacobian:
        """The estimate of one step, with a leading axis of 1, in memory of its own."""
        part = slice(index, index + 1)
        base = None if self.base is None else self.base[part].clone()
        return Jacobian(base, self.left[part].clone(), self.right[part].clone())

    def split(self) -> list[Jacobian]:
        """One estimate a step, each with a leading axis of 1."""
        return [
            Jacobian(None if self.base is None else self.base[index : index + 1], left, right)
            for index, (left, right) in enumerate(zip(self.left.split(1), self.right.split(1), strict=True))
        ]


@dataclass(frozen=True)
class Changes:
    """Differences of successive evaluations of a stretch of `n` steps, the oldest first.

    Zero where a step was not evaluated twice.

    Attributes:
        inputs: `du`, `(n, *batch, K, D)`.
        outputs: `do`, `(n, *batch, K, E)`.
    """

    inputs: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, evaluations: Sequence[StepEvaluations], start: int, count: int) -> Changes | None:
        """Those of steps from `start` on, from evaluations, the newest first; None where none was evaluated twice."""
        inputs, outputs = [], []
        for newer, older in pairwise(each.select_steps(start, count) for each in evaluations):
            both = min(len(newer), len(older))
            if not both:
                break
            inputs.append(_padded(newer.inputs[:both] - older.inputs[:both], count))
            outputs.append(_padded(newer.outputs[:both] - older.outputs[:both], count))
        return cls(torch.stack(inputs[::-1], -2), torch.stack(outputs[::-1], -2)) if inputs else None

    @classmethod
    def joined(cls, parts: Sequence[tuple[Changes | None, int]]) -> Changes | None:
        """Those of stretches one after another, each with its length; None where there are none at all."""
        known = [part for part, _ in parts if part is not None]
        if len(known) == len(parts) == 1 or not known:
            return known[0] if known else None
        most = max(known, key=lambda part: part.inputs.shape[-2])
        return cls(
            torch.cat([_filled(None if part is None else part.inputs, count, most.inputs) for part, count in parts]),
            torch.cat([_filled(None if part is None else part.outputs, count, most.outputs) for part, count in parts]),
        )


def told(
    changes: Changes | None, inputs: Tensor, outputs: Tensor, *, base: Tensor | None, before: Jacobian | None
) -> Jacobian:
    """The Jacobians of steps with such rows: what their evaluations tell, or the base alone where they tell nothing."""
    return Jacobian.without(base, inputs, outputs) if changes is None else estimate(changes, base=base, before=before)


def estimate(changes: Changes, *, base: Tensor | None, before: Jacobian | None) -> Jacobian:
    """The Jacobians of a stretch of steps.

    Args:
        changes: what their evaluations tell.
        base: slopes to begin with, one a step; None for zero.
        before: the estimate of the step before the stretch, with a leading axis of 1; None where there is none.
    """
    du, do = changes.inputs, changes.outputs
    dense = base is not None and base.dim() == du.dim()
    if du.shape[-1] <= SMALL and not dense:
        return _carry(du, do, before)
    if du.shape[-1] != do.shape[-1]:
        return _per_step(du, do, base)
    scalar = _scalar(du, do)
    return scalar if du.shape[-1] > WIDE else _per_step(du, do, scalar.base if base is None else base)


def _padded(rows: Tensor, count: int) -> Tensor:
    """The rows, and zeros behind them to make it `count`."""
    more = count - len(rows)
    return torch.cat([rows, rows.new_zeros((more, *rows.shape[1:]))]) if more else rows


def _filled(rows: Tensor | None, count: int, like: Tensor) -> Tensor:
    """Changes `(count, *batch, K, D)` with as many `K` as those that they shall lie beside, the oldest zero."""
    if rows is None:
        return like.new_zeros((count, *like.shape[1:]))
    more = like.shape[-2] - rows.shape[-2]
    return torch.cat([rows.new_zeros((*rows.shape[:-2], more, rows.shape[-1])), rows], -2) if more else rows


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
            surprise = do[step, ..., index, :] - apply_slopes(matrix, du[step, ..., index, :])
            matrix = matrix + surprise.unsqueeze(-1) * right[step, ..., index, :].unsqueeze(-2)
        found.append(matrix)
    return Jacobian(torch.stack(found), do[..., :0, :], right[..., :0, :])


def _directions(du: Tensor) -> Tensor:
    """`du / |du|^2`, zero where the step did not move (to rounding)."""
    square = du.square().sum(-1, keepdim=True)
    return torch.where(square > torch.finfo(du.dtype).tiny, du / square, 0.0)
