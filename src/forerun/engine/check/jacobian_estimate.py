"""The Jacobian of steps as their evaluations show it, for the check.

Every step was evaluated several times on its way to acceptance. Broyden's update makes an estimate agree with
each difference of two evaluations in turn (Broyden 1965, "A class of methods for solving nonlinear simultaneous
equations"):

    J <- J + (do - J du) du^T / |du|^2
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.numerics.native import walks as native_walks
from forerun.engine.numerics.native.rows import fit_changes
from forerun.engine.rows import apply_slopes

FULL_MATRIX_WIDTH: Final = 16  # rows up to this wide afford a full matrix, carried from step to step
LOW_RANK_WIDTH: Final = 1024  # wider rows, whose time is their memory's, get one scalar a step


def estimate_or_base(
    changes: EvaluationChanges | None,
    *,
    base: Tensor | None,
    before: Jacobian | None,
    inputs: Tensor,
    outputs: Tensor,
) -> Jacobian:
    """Return what the changes show of the Jacobians; the base alone, for rows like these, where there are none."""
    if changes is None:
        if base is None and before is not None:
            return before.repeat_steps(len(inputs))
        return Jacobian.from_base(base, inputs=inputs, outputs=outputs)
    return estimate_jacobian(changes.drop_useless(inputs), base=base, before=before)


def estimate_jacobian(
    changes: EvaluationChanges,
    *,
    base: Tensor | None,
    before: Jacobian | None,
) -> Jacobian:
    """Return the Jacobians of consecutive steps.

    Args:
        changes: what their evaluations show.
        base: slopes to begin with, one a step; None for zero.
        before: the estimate of the step before the first, with a leading axis of 1; None where there is none.
    """
    du, do = changes.inputs, changes.outputs.to(changes.inputs)  # outputs may be of another dtype
    has_dense_base = base is not None and base.dim() == du.dim()
    if du.shape[-1] <= FULL_MATRIX_WIDTH and not has_dense_base:
        return _carry_matrix(du, do, before)
    if du.shape[-1] != do.shape[-1]:
        return _fill_unseen(_update_bases(du, do, base), du, before)
    secants = _estimate_scalars(du, do)
    if du.shape[-1] > LOW_RANK_WIDTH:
        return _fill_unseen(secants, du, before)
    if base is None:
        base = secants.base
    return _fill_unseen(_update_bases(du, do, base), du, before)


def _fill_unseen(
    estimate: Jacobian,
    du: Tensor,
    before: Jacobian | None,
) -> Jacobian:
    """Return the estimates, with that of the step before the first for those up to the first that was evaluated twice.

    A Jacobian of zero would let every distance fade that meets it.
    """
    if before is None or before.rank != estimate.rank or _base_shape(before) != _base_shape(estimate):
        return estimate
    changed = du.reshape(len(du), -1).abs().amax(1) > 0
    is_unseen = (changed.cumsum(0) == 0).reshape(-1, *[1] * (estimate.left.dim() - 1))
    base = estimate.base
    if base is not None and before.base is not None:
        base = torch.where(is_unseen.reshape(-1, *[1] * (base.dim() - 1)), before.base, base)
    left = torch.where(is_unseen, before.left, estimate.left)
    return Jacobian(base, left, torch.where(is_unseen, before.right, estimate.right))


def _base_shape(jacobian: Jacobian) -> tuple[int, ...] | None:
    """Return the shape of the base of one step; None where there is no base."""
    return None if jacobian.base is None else tuple(jacobian.base.shape[1:])


def _carry_matrix(
    du: Tensor,
    do: Tensor,
    before: Jacobian | None,
) -> Jacobian:
    """Update a full matrix from step to step: neighbours share most of their Jacobian."""
    directions = _scaled_directions(du)
    if before is None or before.base is None:
        shape = (*du.shape[1:-2], do.shape[-1], du.shape[-1])
        matrix = du.new_zeros(shape)
    else:
        matrix = before.base[0]
    carried = native_walks.carry_matrices(du, do, directions, matrix)
    if carried is None:
        carried = _carry_in_order(du, do, directions, matrix)
    return Jacobian(
        base=carried,
        left=do[..., :0, :],
        right=directions[..., :0, :],
    )


def _carry_in_order(
    du: Tensor,
    do: Tensor,
    directions: Tensor,
    matrix: Tensor,
) -> Tensor:
    """Return the matrix after each step."""
    matrices = []
    for step in range(len(du)):
        for index in range(du.shape[-2]):
            predicted = apply_slopes(matrix, du[step, ..., index, :])
            surprise = do[step, ..., index, :] - predicted
            direction = directions[step, ..., index, :]
            matrix = matrix + surprise.unsqueeze(-1) * direction.unsqueeze(-2)
        matrices.append(matrix)
    return torch.stack(matrices)


def _update_bases(
    du: Tensor,
    do: Tensor,
    base: Tensor | None,
) -> Jacobian:
    """Update the base of each step by itself; a step evaluated once takes the updates of the step before it."""
    updates = native_walks.update_bases(du, do, base)
    if updates is not None:
        return Jacobian(base, *updates)
    directions = _scaled_directions(du)
    estimate = Jacobian(
        base=base,
        left=do[..., :0, :],
        right=directions[..., :0, :],
    )
    for index in range(du.shape[-2]):
        predicted = estimate.multiply_moves(du[..., index, :])
        surprise = do[..., index, :] - predicted
        is_finite = surprise.isfinite().all(-1, keepdim=True)
        surprise = torch.where(is_finite, surprise, 0.0)  # a base beyond all numbers
        left = torch.cat([estimate.left, surprise.unsqueeze(-2)], -2)
        right = directions[..., : index + 1, :]
        estimate = replace(estimate, left=left, right=right)
    source = _nearest_evaluated_twice(du)
    return replace(
        estimate,
        left=estimate.left[source],
        right=estimate.right[source],
    )


def _estimate_scalars(du: Tensor, do: Tensor) -> Jacobian:
    """Return the secant of the newest change."""
    newest_du = du[..., -1, :]
    newest_do = do[..., -1, :]
    fitted = fit_changes(newest_du, newest_do)
    if fitted is None:
        slopes = _fit_changes(newest_du, newest_do)
        source = _nearest_evaluated_twice(du)
    else:
        slopes, sizes = fitted
        source = _nearest_changed(sizes)
    return Jacobian(
        base=slopes[source],
        left=do[..., :0, :],
        right=du[..., :0, :],
    )


def _fit_changes(newest_du: Tensor, newest_do: Tensor) -> Tensor:
    """Return `<do, du> / |du|^2`, `(..., 1)`; scaled first, as the squares of small moves underflow."""
    scale = newest_du.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(newest_du.dtype).tiny)
    unit_du = newest_du / scale
    square = torch.linalg.vecdot(unit_du, unit_du)
    product = torch.linalg.vecdot(newest_do / scale, unit_du)
    slopes = torch.where(square > 0, product / square, 0.0)
    return slopes.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1)


def _nearest_evaluated_twice(du: Tensor) -> Tensor:
    """Return for each step the nearest at or before it that was evaluated twice: int64 `(n,)`."""
    return _nearest_changed(du.abs().amax(-1))


def _nearest_changed(sizes: Tensor) -> Tensor:
    """Return for each step the nearest at or before it that has a size above zero: int64 `(n,)`."""
    changed = sizes.flatten(1).amax(1) > 0
    indices = torch.arange(len(sizes), device=sizes.device)
    nearest = torch.where(changed, indices, -1).cummax(0).values
    return nearest.clamp_min(0)


def _scaled_directions(du: Tensor) -> Tensor:
    """Return `du / |du|^2`, zero where the step did not move; scaled first, as the squares of small moves underflow."""
    smallest = torch.finfo(du.dtype).tiny
    scale = du.abs().amax(-1, keepdim=True)
    unit = du / scale.clamp_min(smallest)
    square = unit.square().sum(-1, keepdim=True)
    return torch.where(scale > smallest, unit / square / scale, 0.0)
