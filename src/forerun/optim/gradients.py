"""Gradients: how the gradients of the steps of a window are computed together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.optim.task import GradientBatch, LossTask, joined


class Gradients(ABC):
    """A way to the gradients of many steps, each at parameters of its own."""

    @abstractmethod
    def compute_gradients(self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]) -> GradientBatch:
        """The gradients of the steps `(W,)` at parameters `(W, *shape)`, each step by itself."""


@dataclass(frozen=True)
class OneByOne(Gradients):
    """A plain loop of autograd: what any loss allows, with the bits of the ordinary loop.

    On one device it gains nothing by itself; split over ranks (`forerun.Distributed`), every rank takes its own steps.
    """

    def compute_gradients(self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]) -> GradientBatch:
        rows = zip(*(tensor.unbind() for tensor in tensors), strict=True)
        return joined([_single(task, step, row) for step, row in zip(steps.tolist(), rows, strict=True)])


@dataclass(frozen=True)
class Vmapped(Gradients):
    """`torch.func.vmap` over stacked parameters, for a loss that is written for one step.

    The step comes as a tensor without axes. Whatever is random belongs into `Loop(..., data=...)`, which is drawn step
    by step beforehand. A tensor that the loss of some step leaves out has a gradient of zero there, not none. A round
    of one step is taken by `OneByOne`.
    """

    def compute_gradients(self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]) -> GradientBatch:
        if len(steps) == 1:
            return OneByOne().compute_gradients(task, steps, tensors)
        drawn = _stacked_data(task, steps)

        def of_one(step: Tensor, leaves: list[Tensor], drawn: tuple[Tree, ...]) -> tuple[list[Tensor], Tensor]:
            losses, pull, *_ = torch.func.vjp(lambda *leaves: torch.stack(task.losses(leaves, step, drawn)), *leaves)
            pulled = [pull(row) for row in torch.eye(len(losses), dtype=losses.dtype, device=losses.device)]
            return [pulled[task.blames(index)][index] for index in range(len(leaves))], losses

        with torch.enable_grad(), task.shielded():
            gradients, losses = torch.func.vmap(of_one)(steps, list(tensors), drawn)
        return GradientBatch([each.detach() for each in gradients], losses.detach(), _all_used(losses, len(tensors)))


@dataclass(frozen=True)
class Batched(Gradients):
    """A loss that the user writes for many steps, each at parameters of its own.

    Args:
        loss: takes the tree of parameters with a leading axis of `W` (a module comes as a dict of its trained tensors),
            the steps `(W,)` and, with `Loop(..., data=...)`, their data with that axis; returns `(W,)` losses, or a
            tuple of them, one for each optimiser. The loss of a step must depend on its own slice alone.
    """

    loss: Callable[..., Any]

    def compute_gradients(self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]) -> GradientBatch:
        drawn = _stacked_data(task, steps)
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad(), task.shielded():
            found = self.loss(task.parameters.tree(leaves), steps, *drawn)
            losses = tuple(found) if isinstance(found, tuple | list) else (found,)
            for each in losses:
                if not isinstance(each, Tensor) or each.shape != steps.shape:
                    came = list(each.shape) if isinstance(each, Tensor) else type(each).__name__
                    raise ValueError(
                        f"Batched was given {len(steps)} steps, and its loss returned {came}; return one loss a step, "
                        f"of shape ({len(steps)},): losses.flatten(1).mean(1)"
                    )
            gradients, used = _derived(task, [each.sum() for each in losses], leaves)
        rows = torch.stack([each.detach() for each in losses], 1)
        return GradientBatch(gradients, rows, rows.new_tensor(used).expand(len(steps), -1))


def _single(task: LossTask, step: int, tensors: Sequence[Tensor]) -> GradientBatch:
    """The gradients of one step, as the ordinary loop computes them: in memory of their own, laid out as there."""
    own = [
        _laid_out(tensor, like).requires_grad_() for like, tensor in zip(task.parameters.tensors, tensors, strict=True)
    ]
    with torch.enable_grad(), task.drawn(step) as drawn:
        losses = task.losses(own, step, drawn)
        gradients, used = _derived(task, losses, own)
    rows = torch.stack([loss.detach() for loss in losses]).unsqueeze(0)
    return GradientBatch([each.unsqueeze(0) for each in gradients], rows, rows.new_tensor([used]))


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy with the strides of another, unless a barrier has changed the shape."""
    return torch.empty_like(like if like.shape == tensor.shape else tensor, requires_grad=False).copy_(tensor)


def _derived(task: LossTask, losses: Sequence[Tensor], leaves: Sequence[Tensor]) -> tuple[list[Tensor], list[float]]:
    """The gradient of every leaf by its own loss, and one where it has one, zero where it has none."""
    gradients: list[Tensor | None] = [None] * len(leaves)
    for number, loss in enumerate(losses):
        mine = [index for index in range(len(leaves)) if len(losses) == 1 or task.owners[index] == number]
        if loss.requires_grad and mine:
            last = number + 1 == len(losses)
            found = torch.autograd.grad(
                loss, [leaves[index] for index in mine], allow_unused=True, retain_graph=not last
            )
            for index, gradient in zip(mine, found, strict=True):
                gradients[index] = gradient
    used = [float(gradient is not None) for gradient in gradients]
    return [
        torch.zeros_like(leaf, requires_grad=False) if gradient is None else _dense(gradient)
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ], used


def _dense(gradient: Tensor) -> Tensor:
    if gradient.layout is not torch.strided:
        raise TypeError("a gradient came sparse; build the embedding with sparse=False")
    return gradient


def _stacked_data(task: LossTask, steps: Tensor) -> tuple[Tree, ...]:
    """The data of every step, drawn with its seed, with a leading axis."""
    if task.data is None:
        return ()
    drawn = []
    for step in steps.tolist():
        with task.drawn(step) as found:
            drawn.append(found)
    stacked: tuple[Tree, ...] = pytree.tree_map(
        lambda *each: torch.stack(each) if isinstance(each[0], Tensor) else torch.tensor(each, device=steps.device),
        *drawn,
    )
    return stacked


def _all_used(losses: Tensor, count: int) -> Tensor:
    return losses.new_ones(len(losses), count)
