"""GradientBatch: the gradients of several steps, with their losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientBatch:
    """The gradients of `W` steps.

    Attributes:
        gradients: one for each tensor, `(W, *shape)`.
        losses: `(W, K)`.
        used: `(W, n)`, one where the loss depends on the tensor and zero where it does not.
    """

    gradients: list[Tensor]
    losses: Tensor
    used: Tensor


def join_batches(batches: Sequence[GradientBatch]) -> GradientBatch:
    """Return the gradients of several batches of steps, one after another."""
    if len(batches) == 1:
        return batches[0]
    by_tensor = zip(*(batch.gradients for batch in batches), strict=True)
    return GradientBatch(
        gradients=[torch.cat(pieces) for pieces in by_tensor],
        losses=torch.cat([batch.losses for batch in batches]),
        used=torch.cat([batch.used for batch in batches]),
    )
