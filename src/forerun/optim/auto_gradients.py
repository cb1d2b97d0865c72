"""AutoGradients: gradients are computed together where that agrees with computing them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.optim.gradient_batch import GradientBatch
from forerun.optim.gradients import Batched, Gradients, OneByOne, Vmapped
from forerun.optim.loss_task import LossTask

WAYS_MAY_DIFFER = 1e-2  # of the size of a gradient: kernels of another batch size sum in another order


COARSE_GRADIENTS = (
    "Gradients in half precision round otherwise together than one by one, which optimisers such as Adam turn into "
    "other steps; write gradients=OneByOne() for the bits of the plain loop."
)


@final
@dataclass(frozen=True)
class AutoGradients(Gradients):
    """`Vmapped`, where the loss allows it and it agrees with `OneByOne`; else `OneByOne`, and the solution says why."""

    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        gradients, _ = choose_gradients(self, task, steps, tensors)
        return gradients.compute_gradients(task, steps, tensors)


def choose_gradients(
    gradients: Gradients, task: LossTask, steps: Tensor, rows: Sequence[Tensor]
) -> tuple[Gradients, str | None]:
    """Return a way to compute gradients, tried against `OneByOne`, and a note where it is not the one that was asked.

    Args:
        gradients: the way that the user asked for.
        task: the loss.
        steps: the steps `(W,)` to try it on, all different.
        rows: parameters `(W, *shape)`.

    Raises:
        ValueError: `Batched` or `Vmapped` disagree with `OneByOne`.
    """
    is_auto = isinstance(gradients, AutoGradients)
    if isinstance(gradients, OneByOne) or len(steps) < 2:
        return (OneByOne() if is_auto else gradients), None
    truth = OneByOne().compute_gradients(task, steps, rows)
    if is_auto:
        return _choose_automatically(task, steps, rows, truth)
    labels = differing_labels(task, truth, gradients.compute_gradients(task, steps, rows), share=WAYS_MAY_DIFFER)
    if labels:
        noun = "its losses" if isinstance(gradients, Batched) else "the loss"
        raise ValueError(
            f"{type(gradients).__name__} and OneByOne disagree about the gradient of {list_names(labels)}: {noun} of "
            "a step must depend on that step's parameters and number alone; write gradients=OneByOne()"
        )
    return gradients, None


def _choose_automatically(
    task: LossTask, steps: Tensor, rows: Sequence[Tensor], truth: GradientBatch
) -> tuple[Gradients, str | None]:
    try:
        batch = Vmapped().compute_gradients(task, steps, rows)
    except Exception as error:  # vmap refuses in many ways
        lines = str(error).strip().splitlines()
        reason = f"vmap refused the loss ({type(error).__name__}: {lines[0] if lines else ''})"
    else:
        if not differing_labels(task, truth, batch, share=WAYS_MAY_DIFFER):
            is_coarse = any(gradient.element_size() < 4 for gradient in batch.gradients)
            return Vmapped(), COARSE_GRADIENTS if is_coarse else None
        reason = "vmap gave other gradients"
    return OneByOne(), (
        f"Gradients are taken one by one, as {reason}; draw what is random in Loop(..., data=...), or write "
        "Batched(loss), to take them together."
    )


def differing_labels(
    task: LossTask,
    first: GradientBatch,
    second: GradientBatch,
    *,
    share: float,
) -> list[str]:
    """Return the labels of the tensors whose gradients differ by more than a share of their size."""
    pairs = zip(task.parameters.labels, first.gradients, second.gradients, strict=True)
    return [label for label, gradient, other in pairs if not _agree(gradient, other, share)]


def _agree(
    gradient: Tensor,
    other: Tensor,
    share: float,
) -> bool:
    """Return whether two gradients are finite in the same places, and close there."""
    finite = torch.isfinite(gradient) & torch.isfinite(other)
    distance = torch.linalg.vector_norm((gradient - other)[finite].double())
    size = torch.linalg.vector_norm(gradient[finite].double())
    return bool(distance <= share * size) and torch.equal(gradient.isfinite(), other.isfinite())


def list_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
