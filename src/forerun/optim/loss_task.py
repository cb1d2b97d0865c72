"""LossTask: the loss of a step at some parameters, with the data and the randomness of that step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from forerun.engine.numerics.tree import Tree, describe_tree
from forerun.optim.parameters import LossFunction, Parameters
from forerun.optim.seeding import seeded

DataFunction = Callable[[int], Tree]


@dataclass(frozen=True)
class LossTask:
    """A loss, its parameters, and where its randomness comes from.

    Attributes:
        loss: `loss(params, step)`, or `loss(params, step, data)`; a scalar, or a tuple of one for each optimiser.
        data: `data(step)`, drawn with the step's seed; None for a loss without data.
        owners: for every tensor, the index of the optimiser that holds it.
        loss_count: number of losses, one or as many as optimisers.
    """

    parameters: Parameters
    loss: LossFunction
    data: DataFunction | None
    seed: int | None
    owners: Sequence[int]
    loss_count: int = 1

    def loss_index(self, tensor_index: int) -> int:
        """Return which loss trains a tensor."""
        return self.owners[tensor_index] if self.loss_count > 1 else 0

    @contextmanager
    def step_data(self, step: int) -> Iterator[tuple[Tree, ...]]:
        """Give the step's data, as arguments that follow the step, and keep the step's seed in force."""
        with seeded(self.seed, step, self.parameters.device):
            yield () if self.data is None else (self.data(step),)

    def shielded_generators(self) -> AbstractContextManager[None]:
        """Return a context in which draws leave no trace: many steps together have no randomness of one step."""
        return seeded(self.seed, 0, self.parameters.device)

    def compute_losses(
        self,
        tree: Tree,
        step: Any,
        data: tuple[Tree, ...],
    ) -> tuple[Tensor, ...]:
        """Return the losses of a step at a tree of parameters, scalars.

        Raises:
            TypeError: the loss is not a tensor.
            ValueError: it is not a scalar.
        """
        losses = as_loss_tuple(self.loss(tree, step, *data))
        for loss in losses:
            _require_scalar(loss)
        return losses


def as_loss_tuple(answer: Any) -> tuple[Any, ...]:
    """Return what a loss function returned, one loss or several, as a tuple."""
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)


def _require_scalar(loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"the loss returned {type(loss).__name__} ({describe_tree(loss)}), but must return a scalar tensor: "
            "return loss, not loss.item()"
        )
    if loss.dim():
        raise ValueError(
            f"the loss returned a tensor of shape {list(loss.shape)}, but must return a scalar: return loss.mean()"
        )
