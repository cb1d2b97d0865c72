"""Differentiation of the losses of one step: as `.backward()` does it, hooks of the parameters included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from forerun.optim.gradient_batch import GradientBatch
from forerun.optim.loss_task import LossTask


def differentiate(task: LossTask, losses: Sequence[Tensor], leaves: Sequence[Tensor]) -> GradientBatch:
    """Return the gradient of every leaf by its own loss, as a batch of one step.

    What the loss itself has accumulated, by a `backward()` inside it, counts.

    Args:
        task: whose losses they are.
        losses: scalars; one for all leaves, or one for each optimiser.
        leaves: tensors without gradients before the losses were computed.
    """
    if len(losses) == 1:
        _backpropagate(losses[0])
    else:
        _backpropagate_apart(task, losses, leaves)
    used = [float(leaf.grad is not None) for leaf in leaves]
    gradients = [_dense_gradient(leaf) for leaf in leaves]
    loss_rows = torch.stack([loss.detach() for loss in losses]).unsqueeze(0)
    return GradientBatch(
        gradients=[gradient.unsqueeze(0) for gradient in gradients],
        losses=loss_rows,
        used=loss_rows.new_tensor([used]),
    )


def share_hooks(tensors: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Register on every leaf the hooks that its tensor has, in their order."""
    for tensor, leaf in zip(tensors, leaves, strict=True):
        for hook in (tensor._backward_hooks or {}).values():
            leaf.register_hook(hook)
        post_hooks = getattr(tensor, "_post_accumulate_grad_hooks", None) or {}
        for hook in post_hooks.values():
            leaf.register_post_accumulate_grad_hook(hook)


def _backpropagate(loss: Tensor) -> None:
    if loss.requires_grad:
        loss.backward()


def _backpropagate_apart(task: LossTask, losses: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Accumulate in every leaf the gradient of its own loss alone."""
    for number, loss in enumerate(losses):
        indices = [index for index in range(len(leaves)) if task.owners[index] == number]
        if not loss.requires_grad or not indices:
            continue
        loss.backward(
            inputs=[leaves[index] for index in indices],
            retain_graph=number + 1 < len(losses),
        )


def _dense_gradient(leaf: Tensor) -> Tensor:
    """Return the gradient of a leaf, zeros where it has none."""
    gradient = leaf.grad
    if gradient is None:
        return torch.zeros_like(leaf, requires_grad=False)
    if gradient.layout is not torch.strided:
        raise TypeError("a gradient came sparse; build the embedding with sparse=False")
    return gradient
