"""What a loop reports of every accepted step, and when it writes its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class AcceptedStep:
    """An accepted step. While it is looked at, the user's parameters and optimisers hold the state after it.

    Attributes:
        step: the step.
        rounds: rounds of the run so far.
        state: the state after the step; not to be changed.
        build_tree: makes the user's tree of a list of tensors.
        raw_gradients: one for each tensor, before they were clipped; None where the loss does not depend on it.
    """

    step: int
    rounds: int
    state: Tree
    build_tree: Callable[[list[Any]], Tree]
    raw_gradients: Sequence[Tensor | None] = ()

    @property
    def losses(self) -> tuple[float, ...]:
        """The losses, at the parameters that the step's gradient was taken at."""
        return tuple(self.state["losses"].tolist())

    @property
    def loss(self) -> float:
        """The sum of the losses."""
        return sum(self.losses)

    @property
    def rates(self) -> list[list[float]]:
        """The learning rates that the step was taken with, of every group of every optimiser."""
        return [[_rate_as_float(rate) for rate in rates] for rates in self.state["rates"]]

    @property
    def rate(self) -> float:
        """The learning rate of the first group."""
        return self.rates[0][0]

    @property
    def params(self) -> Tree:
        """The parameters after the step, shaped like what was passed; a module is a dict of its trained tensors."""
        return self.build_tree([tensor.clone() for tensor in self.state["params"]])

    @property
    def gradients(self) -> Tree:
        """The gradients that the step was taken with, before they were clipped, shaped like `params`.

        None stands where the loss does not depend on a tensor. The user's tensors hold the same in `.grad`, clipped.
        """
        return self.build_tree(list(self.raw_gradients))

    @property
    def average(self) -> Tree:
        """The averaged parameters; None where no average is kept."""
        averages = self.state["average"]
        if not averages:
            return None
        return self.build_tree([tensor.clone() for tensor in averages])


def _rate_as_float(rate: Any) -> float:
    return float("nan") if rate is None else float(rate)


@dataclass(frozen=True)
class SaveEvery:
    """A checkpoint to a file, whenever so many more steps are accepted, and when a run ends in any way.

    Of several ranks only the first writes.
    """

    steps: int
    path: str | Path

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(
                f"SaveEvery({self.steps}) never comes; pass a number of steps, such as SaveEvery(100, path)"
            )

    def is_due(self, before: int, after: int) -> bool:
        """Return whether a multiple of the number of steps lies in `(before, after]`."""
        return after // self.steps > before // self.steps

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint to the file."""
        if not dist.is_initialized() or dist.get_rank() == 0:
            checkpoint.save(self.path)
