"""Solution: the answer, what it cost, how close it is, and a sentence that says what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.tree import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Status(Enum):
    """How a run ended, as a sentence with advice."""

    CHECKED = "Every step is accepted, and the estimated deviation from the sequential run is within the tolerance."
    UNCHECKED = (
        "Every step is accepted, but the deviation was not estimated; pass check=True to know how close the answer is."
    )
    UNCERTAIN = (
        "Every step is accepted, but the estimated deviation exceeds the tolerance and solving again did not mend it; "
        "tighten the tolerance, or use method=Sequential()."
    )
    NONFINITE = (
        "A step gave a value that is not finite from its exact input, as the sequential run would; look at that step, "
        "its state is in solution.state."
    )
    STOPPED = "The callback asked to stop; pass resume=solution.checkpoint to go on."
    INTERRUPTED = "Interrupted; what is accepted is kept, pass resume=solution.checkpoint to go on."

    @property
    def done(self) -> bool:
        """Whether the state is that of the last step."""
        return self in (Status.CHECKED, Status.UNCHECKED, Status.UNCERTAIN)


class NotConverged(RuntimeError):
    """Raised by `solve(..., throw=True)` where the run did not end well; the solution is in `.solution`."""

    def __init__(self, solution: Solution) -> None:
        super().__init__(solution.message)
        self.solution = solution


@dataclass(frozen=True)
class Lap:
    """Seconds: of evaluating, of communication, and of all else since the lap before; agreed by all ranks."""

    evaluate: float = 0.0
    communicate: float = 0.0
    rest: float = 0.0

    @property
    def total(self) -> float:
        return self.evaluate + self.communicate + self.rest

    def __add__(self, other: Lap) -> Lap:
        return Lap(
            self.evaluate + other.evaluate, self.communicate + other.communicate, self.rest + other.rest
        )


@dataclass(frozen=True)
class Round:
    """One iteration of a method on the window `[start, stop)`; a round for most, several where `rounds > 1`."""

    start: int
    stop: int
    accepted: int  # steps accepted, from start on
    residuals: tuple[float, ...]  # the largest over the samples, one a step
    limit: float  # what they were held against
    rounds: int
    evaluations: int
    lap: Lap

    @property
    def width(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Seconds:
    """Where the time of a run went."""

    evaluate: float
    advance: float
    communicate: float
    rest: float

    @property
    def total(self) -> float:
        return self.evaluate + self.advance + self.communicate + self.rest


@dataclass(frozen=True)
class Solution:
    """What `solve` returns.

    Attributes:
        state: the state of step `step`: the final one where `status.done`.
        step: number of accepted steps.
        length: number of steps of the process.
        status: how the run ended.
        log: the rounds, in order.
        deviation: estimated distance of the state from the sequential run's, in the norm of the tolerance, one
            a sample (`batch` axes); None where it was not estimated.
        notes: what the run decided on its way, such as why the window declined.
        path: the states `x_0 .. x_step`, where `path=True` asked for them.
        seconds: where the time went.
        checkpoint: hand it to `resume` to go on, or `.save(path)` it.
    """

    state: Tree
    step: int
    length: int
    status: Status
    log: Sequence[Round]
    deviation: Tensor | None
    seconds: Seconds
    checkpoint: Checkpoint
    notes: Sequence[str] = ()
    path: Sequence[Tree] | None = field(default=None, repr=False)

    @property
    def rounds(self) -> int:
        """Batched calls of `evaluate`, one after another: what wall-clock pays for."""
        return sum(entry.rounds for entry in self.log) + self.checkpoint.rounds_before

    @property
    def evaluations(self) -> int:
        """Steps evaluated in all rounds: what compute pays for."""
        return sum(entry.evaluations for entry in self.log) + self.checkpoint.evaluations_before

    @property
    def inflation(self) -> float:
        """Evaluations per accepted step; 1 in the sequential run."""
        return self.evaluations / max(self.step, 1)

    @property
    def deviation_estimate(self) -> float | None:
        """The largest deviation over the samples; None where it was not estimated."""
        if self.deviation is None:
            return None
        return float(self.deviation.max()) if self.deviation.numel() else 0.0
