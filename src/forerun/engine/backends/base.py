"""Backend: where a round is evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from forerun.engine.rounds import RoundTiming

RowFunction = Callable[[Tensor, Tensor], Tensor]  # (steps (W,), inputs (W, *batch, D)) -> (W, *batch, E)
TimingReader = Callable[[], RoundTiming]
SecondsReader = Callable[[], float]


class Backend(ABC):
    """A place to evaluate the steps of a round together."""

    def begin_run(self) -> Backend:
        """Return the backend of one run, which may remember what it measures in it; itself where there is nothing."""
        return self

    @abstractmethod
    def evaluate(
        self,
        call: RowFunction,
        steps: Tensor,
        inputs: Tensor,
        overhead: float,
    ) -> tuple[Tensor, TimingReader]:
        """Return all outputs, the same on every rank, and a function that reads the time once they are in use.

        Args:
            call: what to evaluate; each step by itself, so that the steps may be split at will.
            steps: int64 `(W,)`.
            inputs: `(W, *batch, D)`.
            overhead: seconds spent since the evaluation before, to be agreed upon by all ranks.
        """

    def start_walk(self, device: torch.device) -> Callable[[], SecondsReader] | None:
        """Start timing a plain loop on this device, for results that are the same on every rank.

        Returns:
            A function that stops, and returns what reads the seconds; None where every step has to go through
            `evaluate`.
        """
        return None
