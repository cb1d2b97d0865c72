"""LimitMethod: how the values of a map become the point to evaluate next.

A method sees points `(A, D)`, a row for each problem that is still going on, and their values `T(x)`. It is a frozen
set of settings: what it remembers comes in with the `LimitPoint` and goes out with the `NextPoint`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

Memory = Mapping[str, Tensor]  # every tensor begins with the axis of the problems; all zero: nothing is remembered


class MapTools(Protocol):
    """What a method may ask of the map besides the values that it gets; everything is counted."""

    def evaluate(self, points: Tensor) -> Tensor:
        """Return the values `(A, D)` at other points `(A, D)`: one evaluation."""

    def apply_jacobian(self, points: Tensor, directions: Tensor) -> Tensor:
        """Return the derivatives `(A, D)` of the map at points along directions `(A, D)`: one evaluation."""

    def measure(self, moves: Tensor, points: Tensor) -> Tensor:
        """Return the sizes `(A, ...)` of moves `(A, ..., D)` from points, in the norm of the tolerance."""


@dataclass(frozen=True)
class LimitPoint:
    """Where an iteration stands, for the problems that go on.

    Attributes:
        iteration: points evaluated before this one.
        points: `x`, `(A, D)`.
        values: `T(x)`, `(A, D)`.
        sizes: of the residuals, `(A,)`, in the norm of the tolerance.
        threshold: what they are to come below.
        rejections: how often the safeguard took a point of a problem back, int64 `(A,)`; this outlives the memory.
        memory: what the method handed on; empty at first, zero in the rows of problems that begin again.
        tools: the map, for methods that need more of it.
    """

    iteration: int
    points: Tensor
    values: Tensor
    sizes: Tensor
    threshold: float
    rejections: Tensor
    memory: Memory
    tools: MapTools

    @property
    def continues(self) -> Tensor:
        """Which problems have a memory that is not cleared, bool `(A,)`; methods keep a tensor `age` for this."""
        if "age" not in self.memory:
            return torch.zeros_like(self.rejections, dtype=torch.bool)
        return self.memory["age"] > 0

    @cached_property
    def residuals(self) -> Tensor:
        """`T(x) - x`, `(A, D)`."""
        return self.values - self.points

    def take_step(self, share: float) -> Tensor:
        """Return the points `(A, D)` that lie a share of the way to the values, or beyond."""
        return self.values if share == 1 else self.points + share * self.residuals


@dataclass(frozen=True)
class NextPoint:
    """What a method makes of a point.

    Attributes:
        points: to evaluate next, `(A, D)`.
        memory: comes back to the method with the next `LimitPoint`.
        is_trial: bool `(A,)`, which points are accelerated: those that the safeguard may take back, in favour of the
            fallback. None for none.
        fallback: what is evaluated in the place of points that are taken back, `(A, D)`; None for the plain values.
    """

    points: Tensor
    memory: Memory = field(default_factory=dict)
    is_trial: Tensor | None = None
    fallback: Tensor | None = None


class LimitMethod(ABC):
    """A way to the fixed point of a map."""

    @abstractmethod
    def advance(self, point: LimitPoint) -> NextPoint:
        """Return the point to evaluate next. Must not change what it is given."""


def select_memory(memory: Memory, rows: Tensor) -> Memory:
    """Return the memory of some problems."""
    return {name: tensor[rows] for name, tensor in memory.items()}


def clear_memory(memory: Memory, is_cleared: Tensor) -> Memory:
    """Return the memory with nothing remembered in the rows of some problems, bool `(A,)`."""
    cleared = {}
    for name, tensor in memory.items():
        mask = is_cleared.reshape(-1, *[1] * (tensor.dim() - 1))
        cleared[name] = torch.where(mask, torch.zeros_like(tensor), tensor)
    return cleared
