"""The log of a run: one `Round` an iteration, with its residuals and its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.skeleton import Skeleton


@dataclass(frozen=True)
class RoundTiming:
    """Seconds between two evaluations: evaluating, communicating, and all else; the same on all ranks."""

    evaluate: float = 0.0
    communicate: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole round."""
        return self.evaluate + self.communicate + self.overhead

    def __add__(self, other: RoundTiming) -> RoundTiming:
        return RoundTiming(
            self.evaluate + other.evaluate, self.communicate + other.communicate, self.overhead + other.overhead
        )


@dataclass(frozen=True)
class Round:
    """One iteration of a method on the window `[start, stop)`.

    Attributes:
        accepted: steps accepted, from `start` on.
        residuals: the largest over the samples, one a step of the window; the first is zero. A run keeps them as an
            array of single precision, as a long one has many.
        threshold: what they were held against.
        rounds: calls of evaluate, one after another; 1 for most methods.
        evaluations: steps evaluated in them.
        timing: time of the round; `overhead` is that before the call.
        in_order: the steps were evaluated one after another, each at its exact input: the plain loop.
        sparse: which steps were evaluated, where the outputs of some were interpolated; None for all of them.
        single: seconds of a step of the plain loop, without the first of the round; None where it did not run.
        elapsed: seconds of all rounds up to this one, with what the check evaluated besides.
    """

    start: int
    stop: int
    accepted: int
    residuals: Sequence[float]
    threshold: float
    rounds: int
    evaluations: int
    timing: RoundTiming
    in_order: bool = False
    sparse: Skeleton | None = None
    single: float | None = None
    elapsed: float = 0.0

    @property
    def width(self) -> int:
        """Number of steps in the window."""
        return self.stop - self.start

    @property
    def skeleton(self) -> Skeleton:
        """Which steps were evaluated."""
        return self.sparse or Skeleton.all_steps(self.start, self.stop)

    def continues(self, previous: Round) -> bool:
        """Return whether this round went on where the one before it ended; where not, the check went back."""
        return self.start == previous.start + previous.accepted
