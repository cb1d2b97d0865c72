"""Modes: what a tick may take from the one before it, and how long it may take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from forerun.policy.refinement import refine_chunk
from forerun.policy.tick import Tick, TickAnswer
from forerun.policy.tick_run import DeadlineClock


class Mode(ABC):
    """How a tick is answered.

    Attributes:
        carries: whether a tick begins from the one before.
        shifts: whether its noise is that of the one before, moved along the horizon.
    """

    carries: ClassVar[bool]
    shifts: ClassVar[bool]

    @abstractmethod
    def answer(self, tick: Tick) -> TickAnswer:
        """Return the sample of a tick, and what it took."""

    @abstractmethod
    def actions(self, sample: Tensor) -> Tensor:
        """Return the chunk of actions that a sample stands for, both `(B, H, A)`."""


@dataclass(frozen=True)
class Exact(Mode):
    """Fresh noise in every tick, and all its steps: what sequential sampling gives with the same noise."""

    carries: ClassVar[bool] = False
    shifts: ClassVar[bool] = False

    def answer(self, tick: Tick) -> TickAnswer:
        return tick.solve()

    def actions(self, sample: Tensor) -> Tensor:
        return sample


@dataclass(frozen=True)
class Warm(Mode):
    """The noise and the path of the last tick, moved along the horizon, are this tick's noise and its first guess.

    Each tick's answer is still what sequential sampling gives with that tick's noise, which is standard normal, and
    takes fewer rounds. Ticks that follow one another share noise, so that their chunks agree where they overlap.

    Args:
        stale: root mean square, in units of the actions, by which the first outputs of a tick may differ from the
            guess before the guess is dropped.
    """

    stale: float = 0.5

    carries: ClassVar[bool] = True
    shifts: ClassVar[bool] = True

    def answer(self, tick: Tick) -> TickAnswer:
        return tick.solve(stale=self.stale)

    def actions(self, sample: Tensor) -> Tensor:
        return sample


@dataclass(frozen=True)
class Deadline(Mode):
    """`Warm`, stopped in time: where rounds are left, the end of the path is foreseen from what is known of it.

    `Report.deviation` says how much the last rounds still changed the end, a rough estimate of how far it is off
    the sequential run's. The next tick begins from where this one came to. The first round is always made, and a round
    is begun when it should be over in time, as the one before took: a round is not cut short.

    Args:
        ms: milliseconds for a tick.
        stale: as of `Warm`.
    """

    ms: float
    stale: float = 0.5

    def __post_init__(self) -> None:
        if not self.ms > 0:
            raise ValueError(
                f"Deadline(ms={self.ms}) is over before it begins; pass milliseconds, such as Deadline(10)"
            )

    carries: ClassVar[bool] = True
    shifts: ClassVar[bool] = True

    def answer(self, tick: Tick) -> TickAnswer:
        clock = DeadlineClock(tick.start_time + self.ms / 1000)
        return tick.solve_in_time(stop=clock, stale=self.stale)

    def actions(self, sample: Tensor) -> Tensor:
        return sample


@dataclass(frozen=True)
class RTI(Mode):
    """The real-time iteration scheme, for comparison: the last chunk, moved, and a few last steps of the scheduler.

    "Real-Time Iteration Scheme for Diffusion Policy" (arXiv 2508.05396): an episode begins with all steps; every
    later tick starts from the last chunk, moved along the horizon with its last action repeated, *without* noise, and
    takes a few steps at low noise from there. This is another distribution than that of the policy, and a guess that
    no longer fits the observation goes unnoticed.

    Args:
        steps: timesteps to visit, descending, such as `(3, 1, 0)`; a number stands for so many at the end.
        discrete: dimensions of an action that only take the values -1 and 1, such as a gripper: the answer has their
            signs.
        scale: by which the policy was trained to divide them, so that few steps can turn them over.
        clip: for a policy that was not: the guess takes the signs of the last chunk over `scale`.
    """

    steps: int | Sequence[int] = 3
    discrete: Sequence[int] = ()
    scale: float = 10.0
    clip: bool = False

    carries: ClassVar[bool] = True
    shifts: ClassVar[bool] = False

    def answer(self, tick: Tick) -> TickAnswer:
        if not any(tick.warm):
            return tick.solve()
        return refine_chunk(tick, self.make_guess(tick.last_sample), self.steps)

    def make_guess(self, last_sample: Tensor) -> Tensor:
        """Return what the steps start from, of the last sample as it was moved, both `(B, H, A)`."""
        if not self.clip:
            return last_sample
        return self._set_signs(last_sample, 1 / self.scale)

    def actions(self, sample: Tensor) -> Tensor:
        return self._set_signs(sample, 1.0)

    def _set_signs(self, chunk: Tensor, size: float) -> Tensor:
        """Return a chunk whose discrete dimensions have their signs, of one size."""
        if not self.discrete:
            return chunk
        is_discrete = torch.zeros(chunk.shape[-1], dtype=torch.bool, device=chunk.device)
        is_discrete[list(self.discrete)] = True
        signs = torch.where(chunk < 0, -size, size)
        return torch.where(is_discrete, signs, chunk)
