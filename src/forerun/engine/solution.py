"""Solution: the answer, what it cost, how close it is, and a sentence that says what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.tree import Tree
from forerun.engine.rounds import Round

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Status(Enum):
    """How a run ended: a sentence, with advice."""

    RUNNING = "The run goes on: take its next round."
    CHECKED = "Every step is accepted, and the estimated deviation from the sequential run is what was asked for."
    UNCHECKED = "Every step is accepted; the deviation was not estimated."
    UNCERTAIN = (
        "Every step is accepted, but the estimated deviation from the sequential run is more than was asked for; the "
        "last of solution.notes says why, and what to do."
    )
    SEQUENTIAL = "Every step was taken in order, from its exact state: this is the sequential run."
    NONFINITE = (
        "A step gave a value that is not finite from its exact input, as the sequential run would; solution.state is "
        "the state before it: look there, or check the process in float64."
    )
    STOPPED = "The callback asked to stop; pass resume=solution.checkpoint to go on."
    INTERRUPTED = "Interrupted. What is accepted is kept: pass resume=solution.checkpoint to go on."

    @property
    def done(self) -> bool:
        """Whether the whole path was accepted."""
        return self in {Status.CHECKED, Status.UNCHECKED, Status.UNCERTAIN, Status.SEQUENTIAL}


class NotConverged(RuntimeError):
    """Raised by `solve(..., throw=True)` where a run could not reach its end; `.solution` holds what it has."""

    def __init__(self, solution: Solution) -> None:
        super().__init__(f"{solution.status.value} (step {solution.step} of {solution.length})")
        self.solution = solution

    def __reduce__(self) -> tuple[type[NotConverged], tuple[Solution]]:
        """Let the error go to another process with its solution."""
        return type(self), (self.solution,)


@dataclass(frozen=True)
class RunTiming:
    """Seconds of a run, by what they went to."""

    evaluate: float = 0.0
    advance: float = 0.0
    communicate: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return self.evaluate + self.advance + self.communicate + self.overhead


@dataclass(frozen=True)
class Solution:
    """What `solve` returns.

    Attributes:
        state: the state of step `step`: the final one where `status.done`.
        length: steps of the process.
        status: how the run ended.
        log: its rounds, in order.
        deviation: estimated distance of the state from the sequential run's in the norm of the tolerance, one a
            sample (`*batch`); None where it was not estimated.
        checkpoint: hand it to `resume` to go on, or `.save(path)` it.
        seconds: where the time went.
        notes: what the run decided on its way, such as why the window declined; sentences.
        states: `x_0 .. x_step` where `path=True` asked for them, else None; unpacked when they are asked for.
        witnessed: steps on which the user's own object was called, and gave what the replica gave.
        nonfinite_samples: samples `(*batch)` that gave something that is not finite, and are not finite in the state;
            the others went on without them. None where there are none.
        check_evaluations: steps that the check evaluated again, a few together, outside the rounds.
    """

    state: Tree
    length: int
    status: Status
    log: Sequence[Round]
    deviation: Tensor | None
    checkpoint: Checkpoint
    seconds: RunTiming
    notes: Sequence[str] = ()
    states: Sequence[Tree] | None = field(default=None)
    nonfinite_samples: Tensor | None = None
    witnessed: int = 0
    check_evaluations: int = 0

    @property
    def value(self) -> Any:
        """What the caller asked for: the state; adapters answer in their own terms."""
        return self.state

    @property
    def path(self) -> list[Tree] | None:
        """The states `x_0 .. x_step` where `path=True` asked for them, else None."""
        if self.states is None:
            return None
        return list(self.states)

    @property
    def step(self) -> int:
        """Number of accepted steps."""
        return self.checkpoint.step

    @property
    def rounds(self) -> int:
        """Batched calls of evaluate, one after another: what wall-clock pays for."""
        return self.checkpoint.rounds

    @property
    def evaluations(self) -> int:
        """Steps evaluated in all rounds: what compute pays for."""
        return self.checkpoint.evaluations

    @property
    def inflation(self) -> float:
        """Evaluations per step; 1 in the sequential run."""
        return self.evaluations / max(self.step, 1)

    @property
    def deviation_estimate(self) -> float | None:
        """The largest deviation over the samples; None where it was not estimated."""
        if self.deviation is None:
            return None
        if not self.deviation.numel():
            return 0.0
        return float(self.deviation.max())

    @property
    def residuals(self) -> list[dict[int, float]]:
        """The residuals of every round, by step."""
        return [dict(enumerate(entry.residuals, entry.start)) for entry in self.log]

    def plot(self, **options: Any) -> Figure:
        """Draw the wavefront: step by round, coloured by residual, with the accepted frontier; see `forerun.view`."""
        from forerun.view.wavefront import draw_wavefront

        return draw_wavefront(self, **options)

    def __str__(self) -> str:
        """Describe the run in a few lines; tensors are left out."""
        times = self.seconds
        lines = [
            f"{self.step} of {self.length} steps in {self.rounds} rounds, {self.evaluations} evaluations "
            f"(inflation {self.inflation:.2f})",
            f"deviation {self._describe_deviation()}",
            f"{times.total:.3g} s: evaluate {times.evaluate:.3g}, advance {times.advance:.3g}, "
            f"communicate {times.communicate:.3g}, overhead {times.overhead:.3g}",
            self.status.value,
            *self._describe_witness(),
            *self.notes,
        ]
        return "\n".join(lines)

    def _describe_witness(self) -> list[str]:
        if not self.witnessed:
            return []
        return [f"Your own step was called on {self.witnessed} steps, and agreed."]

    def _describe_deviation(self) -> str:
        estimate = self.deviation_estimate
        if estimate is None:
            return "not estimated"
        if not self.check_evaluations:
            return f"{estimate:.2g} (estimate)"
        return f"{estimate:.2g} (estimate; the check evaluated {self.check_evaluations} steps again)"

    def __repr__(self) -> str:
        return f"<Solution\n{self}\n>"
