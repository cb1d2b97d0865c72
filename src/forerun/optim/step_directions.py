"""Directions of a step without a schedule: the gradient, or the gradient over its root mean square, as Adam has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class StepDirection(ABC):
    """Turns a gradient into the direction that an optimiser steps against."""

    @abstractmethod
    def scale_gradient(self, gradient: Tensor, state: dict[str, Any], count: int) -> Tensor:
        """Return the direction, in memory of its own or the gradient itself, which stays as it is.

        Args:
            gradient: of one parameter.
            state: what is kept for this parameter; entries are made at the first step.
            count: of steps, this one included.
        """


@dataclass(frozen=True)
class PlainGradient(StepDirection):
    """The gradient itself: SGD."""

    def scale_gradient(self, gradient: Tensor, state: dict[str, Any], count: int) -> Tensor:
        return gradient


@dataclass(frozen=True)
class RootMeanSquare(StepDirection):
    """The gradient over the root of its mean square, corrected for its beginning at zero: Adam without momentum.

    Args:
        decay: of the mean square, `beta2` of Adam.
        floor: added to the root, `eps` of Adam.
    """

    decay: float = 0.999
    floor: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"the decay of a mean square lies in [0, 1), got {self.decay}")
        if not self.floor > 0:
            raise ValueError(f"the floor of a root mean square is above zero, got {self.floor}")

    def scale_gradient(self, gradient: Tensor, state: dict[str, Any], count: int) -> Tensor:
        if "mean_square" not in state:
            state["mean_square"] = gradient.new_zeros(gradient.shape)
        square: Tensor = state["mean_square"]
        square.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
        root = (square / (1 - self.decay**count)).sqrt_().add_(self.floor)
        return gradient / root
