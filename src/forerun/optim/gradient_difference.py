"""What tells the gradients of the user's own loss from those of its replica, beyond rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from forerun.engine.witness import COARSEST_AGREEMENT
from forerun.optim.gradient_batch import GradientBatch

SMALL_SHARE = 0.01  # of the largest gradient of all tensors: smaller ones are held against this size


def describe_gradients(
    labels: Sequence[str], user_batch: GradientBatch, replica_batch: GradientBatch, *, roundings: float
) -> str | None:
    """Say where the user's own gradients of one step differ from the replica's; None where they agree.

    Args:
        labels: what the tensors are called.
        user_batch: gradients of the user's own loss.
        replica_batch: gradients of the replica at the same parameters.
        roundings: how many roundings of the largest value are let pass.
    """
    rows = list(zip(labels, user_batch.gradients, replica_batch.gradients, strict=True))
    largest = max(_largest_size(gradient) for gradient in user_batch.gradients)
    for label, user_gradient, replica_gradient in rows:
        distance = _largest_distance(user_gradient, replica_gradient)
        size = max(_largest_size(user_gradient), SMALL_SHARE * largest)
        if not distance <= _allowed_share(user_gradient, replica_gradient, roundings) * size:
            return f"the gradient of {label} differs by {distance:.2g}, for values of up to {size:.2g}"
    loss_distance = _largest_distance(user_batch.losses, replica_batch.losses)
    loss_size = max(_largest_size(user_batch.losses), largest)
    if not loss_distance <= _allowed_share(user_batch.losses, replica_batch.losses, roundings) * loss_size:
        return f"the loss differs by {loss_distance:.2g}, for values of up to {loss_size:.2g}"
    return None


def _allowed_share(tensor: Tensor, other: Tensor, roundings: float) -> float:
    """Return the share of a size that is let pass: so many roundings of the coarser dtype."""
    coarser_eps = max(torch.finfo(tensor.dtype).eps, torch.finfo(other.dtype).eps)
    return min(roundings * coarser_eps, COARSEST_AGREEMENT)


def _largest_size(tensor: Tensor) -> float:
    if not tensor.numel():
        return 0.0
    return float(torch.nan_to_num(tensor.abs().double(), 0.0, 0.0, 0.0).amax())


def _largest_distance(tensor: Tensor, other: Tensor) -> float:
    """Return the largest distance of finite values, infinity where others are finite."""
    finite = tensor.isfinite()
    if not torch.equal(finite, other.isfinite()):
        return float("inf")
    return _largest_size(torch.where(finite, tensor.double() - other.double(), 0.0))
