"""LossTask: what a step of a loop asks for: the loss of a step at some parameters, with the step's own randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, describe_tree
from forerun.optim.parameters import Loss, Parameters
from forerun.optim.seeding import seeded

Data = Callable[[int], Tree]


@dataclass(frozen=True)
class LossTask:
    """A loss, its parameters, and where its randomness comes from.

    Attributes:
        loss: `loss(params, step)`, or `loss(params, step, data)`; a scalar, or a tuple of one for each optimiser.
        data: `data(step)`, drawn with the step's seed; None for none.
        owners: for every tensor, the optimiser that holds it.
        count: losses, one or as many as optimisers.
    """

    parameters: Parameters
    loss: Loss
    data: Data | None
    seed: int | None
    owners: Sequence[int]
    count: int = 1

    def blames(self, index: int) -> int:
        """Which loss trains a tensor."""
        return self.owners[index] if self.count > 1 else 0

    @contextmanager
    def drawn(self, step: int) -> Iterator[tuple[Tree, ...]]:
        """The step's data, as arguments behind the step, with the step's seed in force."""
        with seeded(self.seed, step, self.parameters.device):
            yield () if self.data is None else (self.data(step),)

    def shielded(self) -> AbstractContextManager[None]:
        """Where many steps are evaluated together nothing belongs to one step: draws of the loss leave no trace."""
        return seeded(self.seed, 0, self.parameters.device)

    def losses(self, tensors: Sequence[Tensor], step: Any, drawn: tuple[Tree, ...]) -> tuple[Tensor, ...]:
        """The losses of a step, scalars.

        Raises:
            TypeError: the loss is no tensor.
            ValueError: it is no scalar, or not as many as there are optimisers.
        """
        found = self.parameters.call(self.loss, tensors, step, *drawn)
        losses = tuple(found) if isinstance(found, tuple | list) else (found,)
        for loss in losses:
            if not isinstance(loss, Tensor):
                raise TypeError(
                    f"the loss returned {type(loss).__name__} ({describe_tree(loss)}), but must return a scalar "
                    "tensor: return loss, not loss.item()"
                )
            if loss.dim():
                raise ValueError(
                    f"the loss returned a tensor of shape {list(loss.shape)}, but must return a scalar: return "
                    "loss.mean()"
                )
        return losses


@dataclass(frozen=True)
class GradientBatch:
    """The gradients of some steps.

    Attributes:
        gradients: one a tensor, `(W, *shape)`.
        losses: `(W, K)`.
        used: `(W, n)`, one where the loss depends on the tensor and zero where not.
    """

    gradients: list[Tensor]
    losses: Tensor
    used: Tensor

    def at(self, index: int) -> GradientBatch:
        """One step of them, with an axis of 1."""
        part = slice(index, index + 1)
        return GradientBatch([gradient[part] for gradient in self.gradients], self.losses[part], self.used[part])


def joined(parts: Sequence[GradientBatch]) -> GradientBatch:
    """The gradients of steps, one after another."""
    if len(parts) == 1:
        return parts[0]
    gradients = [torch.cat(each) for each in zip(*(part.gradients for part in parts), strict=True)]
    return GradientBatch(
        gradients, torch.cat([part.losses for part in parts]), torch.cat([part.used for part in parts])
    )
