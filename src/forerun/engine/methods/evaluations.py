"""StepEvaluations: what was evaluated; and Evaluate, the call that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from forerun.engine.skeleton import Skeleton


class Evaluate(Protocol):
    """A round: output rows of many steps in one batched call, wherever the backend puts it."""

    def __call__(
        self,
        steps: Tensor,
        inputs: Tensor,
        call: Callable[[Tensor, Tensor], Tensor] | None = None,
        cost: int = 1,
    ) -> Tensor:
        """Evaluate the process, or `call` instead of it.

        Args:
            steps: int64 `(W,)`.
            inputs: `(W, *batch, D)`.
            call: a function of steps and input rows that treats each step by itself and returns rows
                `(W, *batch, anything)`, such as outputs with derivatives after them; None for `problem.evaluate`.
            cost: evaluations that a step of `call` counts for.
        """

    def take_in_order(self, walk: OrderedSteps) -> bool:
        """Take steps in order on this device, outside the backend; False, and none taken, where that may not be."""


class OrderedSteps(Protocol):
    """Steps that are taken one after another, each by a call of evaluate of its own."""

    @property
    def count(self) -> int:
        """Number of steps that are finished."""

    @property
    def device(self) -> torch.device:
        """Where they are taken."""

    def take_first(self) -> None:
        """Take the first step."""

    def take_others(self, read_elapsed: Callable[[], float]) -> None:
        """Take the steps after the first, with a clock that started there."""


@dataclass(frozen=True)
class StepEvaluations:
    """The last evaluation of the steps from `start` on.

    Attributes:
        start: the first step.
        inputs: `(W, *batch, D)`.
        outputs: `(W, *batch, E)`; interpolated, at these inputs, where a step was not evaluated.
        sparse: which steps were evaluated; None for all of them.
    """

    start: int
    inputs: Tensor
    outputs: Tensor
    sparse: Skeleton | None = None

    @property
    def skeleton(self) -> Skeleton:
        """Which steps were evaluated."""
        return self.sparse or Skeleton.all_steps(self.start, self.start + len(self))

    def select_steps(self, start: int, count: int) -> StepEvaluations:
        """Return the evaluations of the steps `start .. start+count-1`, of as many as there are."""
        rows = slice(start - self.start, start - self.start + count)
        sparse = self.sparse
        if sparse is not None:
            sparse = sparse.select_steps(start, start + count)
        return StepEvaluations(start, self.inputs[rows], self.outputs[rows], sparse)

    def __len__(self) -> int:
        return self.inputs.shape[0]
