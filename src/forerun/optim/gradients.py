"""Gradients: how the gradients of the steps of a window are computed together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.optim.differentiation import differentiate, share_hooks
from forerun.optim.gradient_batch import GradientBatch, join_batches
from forerun.optim.loss_task import LossTask, as_loss_tuple
from forerun.optim.replica import ReplicaDiffers
from forerun.optim.step_groups import compute_by_group


class Gradients(ABC):
    """A way to compute the gradients of many steps, each at parameters of its own."""

    @abstractmethod
    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        """Return the gradients of the steps `(W,)` at parameters `(W, *shape)`, each step by itself."""


@dataclass(frozen=True)
class OneByOne(Gradients):
    """A plain loop of autograd: what any loss allows, with the bits of the ordinary loop.

    On one device it gains nothing by itself; split over ranks (`forerun.Distributed`), every rank takes its own steps.
    """

    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        rows = zip(*(tensor.unbind() for tensor in tensors), strict=True)
        numbered_rows = zip(steps.tolist(), rows, strict=True)
        return join_batches([_step_gradients(task, step, row) for step, row in numbered_rows])


@dataclass(frozen=True)
class Vmapped(Gradients):
    """`torch.func.vmap` over stacked parameters, for a loss that is written for one step.

    The step comes as a tensor without axes. Whatever is random belongs into `Loop(..., data=...)`, which is drawn step
    by step beforehand. A tensor that the loss of some step leaves out has a gradient of zero there, not none. A round
    of one step is taken by `OneByOne`.
    """

    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        if len(steps) == 1:
            return OneByOne().compute_gradients(task, steps, tensors)
        return compute_by_group(self._compute_group, task, steps, tensors)

    def _compute_group(
        self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor], data: tuple[Tree, ...]
    ) -> GradientBatch:
        """Return the gradients of steps whose data are of the same shapes."""

        def differentiate_step(
            step: Tensor, leaves: list[Tensor], data: tuple[Tree, ...]
        ) -> tuple[list[Tensor], Tensor]:
            def stack_on_tree(tree: Tree) -> Tensor:
                return torch.stack(task.compute_losses(tree, step, data))

            def stack_losses(*leaves: Tensor) -> Tensor:
                losses: Tensor = task.parameters.call_on_tree(stack_on_tree, leaves)
                return losses

            losses, pull_back, *_ = torch.func.vjp(stack_losses, *leaves)
            unit_rows = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
            by_loss = [pull_back(row) for row in unit_rows]
            gradients = []
            for index in range(len(leaves)):
                loss_gradients = by_loss[task.loss_index(index)]
                gradients.append(loss_gradients[index])
            return gradients, losses

        with torch.enable_grad(), task.shielded_generators():
            gradients, losses = torch.func.vmap(differentiate_step)(steps, list(tensors), data)
        return GradientBatch(
            gradients=[gradient.detach() for gradient in gradients],
            losses=losses.detach(),
            used=losses.new_ones(len(losses), len(tensors)),
        )


@dataclass(frozen=True)
class Batched(Gradients):
    """A loss that the user writes for many steps, each at parameters of its own.

    Args:
        loss: takes the tree of parameters with a leading axis of `W` (a module comes as a dict of its trained tensors),
            the steps `(W,)` and, with `Loop(..., data=...)`, their data with that axis; returns `(W,)` losses, or a
            tuple of them, one for each optimiser. The loss of a step must depend on its own slice alone.
    """

    loss: Callable[..., Any]

    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        return compute_by_group(self._compute_group, task, steps, tensors)

    def _compute_group(
        self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor], data: tuple[Tree, ...]
    ) -> GradientBatch:
        """Return the gradients of steps whose data are of the same shapes."""
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad(), task.shielded_generators():
            answer = self.loss(task.parameters.build_tree(leaves), steps, *data)
            losses = as_loss_tuple(answer)
            for loss in losses:
                _require_loss_per_step(loss, steps)
            batch = differentiate(task, [loss.sum() for loss in losses], leaves)
        loss_rows = torch.stack([loss.detach() for loss in losses], 1)
        return GradientBatch(
            gradients=[gradient[0] for gradient in batch.gradients],
            losses=loss_rows,
            used=batch.used.expand(len(steps), -1),
        )


def _require_loss_per_step(loss: Any, steps: Tensor) -> None:
    if isinstance(loss, Tensor) and loss.shape == steps.shape:
        return
    description = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    raise ValueError(
        f"Batched was given {len(steps)} steps, and its loss returned {description}; return one loss a step, "
        f"of shape ({len(steps)},): losses.flatten(1).mean(1)"
    )


def _step_gradients(
    task: LossTask,
    step: int,
    tensors: Sequence[Tensor],
) -> GradientBatch:
    """Return the gradients of one step, as the ordinary loop computes them: in memory of their own, laid out as there.

    Their leading axis is 1.
    """
    pairs = zip(task.parameters.tensors, tensors, strict=True)
    leaves = [_copy_laid_out(tensor, like).requires_grad_() for like, tensor in pairs]
    share_hooks(task.parameters.tensors, leaves)
    versions = [leaf._version for leaf in leaves]

    def differentiate_losses(tree: Tree) -> GradientBatch:
        losses = task.compute_losses(tree, step, data)
        return differentiate(task, losses, leaves)

    with torch.enable_grad(), task.step_data(step) as data:
        batch: GradientBatch = task.parameters.call_on_tree(differentiate_losses, leaves)
    for label, leaf, version in zip(task.parameters.labels, leaves, versions, strict=True):
        if leaf._version != version:
            raise ReplicaDiffers(f"the loss changes {label} in place")
    return batch


def _copy_laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a copy with the strides of another, unless a barrier has changed the shape."""
    model = like if like.shape == tensor.shape else tensor
    return torch.empty_like(model, requires_grad=False).copy_(tensor)
