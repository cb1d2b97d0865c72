"""The choice between Newton and the plain loop over a cell: from a trial, from what runs took, within a budget.

`Auto` learns what a round costs from the rounds of a run. The plain loop over a cell is not a narrower round: a step of
it is a call of the user's cell, several times cheaper than a step that the engine takes, and Newton's rounds all have
the widest width that memory allows. So this window has the vocabulary of `Auto` (`declines`, `width`, `note`) and a
trial in place of a cost model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from forerun.engine.numerics.scan import affine_scan
from forerun.engine.rounds import Round
from forerun.engine.windows import Window
from forerun.sequence.recurrent.cells import FunctionCell
from forerun.sequence.recurrent.job import RecurrenceJob

MIN_NEWTON_LENGTH = 256  # steps, below which the plain loop is taken without a trial
MAX_NEWTON_WIDTH = 64  # elements of a hidden state, above which it is
TRIAL_LENGTHS = (64, 320)  # steps of the trials
TRIAL_REPEATS = 2  # times to measure
LOOP_STEPS = 16  # of the plain loop in a trial: what it does between the calls of the cell counts too
NEWTON_ROUNDS = 8  # that Newton usually takes
ROUND_MARGIN = 2.0  # a round takes longer in a run than alone, above all where its Jacobians leave the cache
GRADIENT_FACTOR = 2.5  # times a forward pass of the loop, that it takes with its gradient


@dataclass(frozen=True)
class TrialResult:
    """What a trial measured for cells of one kind and size.

    Attributes:
        loop_step: seconds of a step of the plain loop.
        newton_round: seconds of a round of Newton over the whole length.
    """

    loop_step: float
    newton_round: float


TRIAL_RESULTS: dict[Hashable, TrialResult] = {}  # by kind and size


@final
@dataclass(frozen=True, eq=False)
class LoopChoice(Window):
    """Another window, as long as Newton in it is quicker than the plain loop over the cell.

    Attributes:
        job: the recurrence.
        run_steps: takes some first steps of the plain loop.
        window: how many steps Newton has in flight.
    """

    job: RecurrenceJob
    run_steps: Callable[[int], object]
    window: Window

    @property
    def budget(self) -> float:
        """Seconds that the plain loop takes, and so Newton may; without an end where nothing was tried."""
        result = TRIAL_RESULTS.get(self._key)
        if result is None:
            return float("inf")
        return self._loop_seconds(result)

    def width(self, log: Sequence[Round], length: int) -> int:
        if self._is_spent(log):
            return 0
        return self.window.width(log, length)

    def note(self, log: Sequence[Round], length: int) -> str | None:
        last = log[-1]
        step = last.start + last.accepted
        return f"The plain loop from step {step} on: Newton had taken as long as the loop takes."

    def declines(self, length: int) -> str | None:
        reason = decline_size(length, self.job.start.shape[-1])
        if reason is not None:
            return reason
        result = self._try_both()
        loop_seconds = self._loop_seconds(result)
        rounds = NEWTON_ROUNDS + int(self.job.needs_gradient)
        newton_seconds = result.newton_round * rounds
        if ROUND_MARGIN * newton_seconds < loop_seconds:
            return None
        ratio = newton_seconds / loop_seconds
        return f"The plain loop was taken: from a trial, Newton would take {ratio:.2f} times as long at best."

    def remember_run(self, seconds: float) -> None:
        """Remember what a run took instead of what its trial promised.

        As cells learn to remember, Newton needs more rounds.
        """
        result = TRIAL_RESULTS.get(self._key)
        if result is None:
            return
        measured = seconds / NEWTON_ROUNDS / ROUND_MARGIN
        newton_round = (measured + result.newton_round) / 2  # a single run may have met a busy machine
        TRIAL_RESULTS[self._key] = replace(result, newton_round=newton_round)

    def _loop_seconds(self, result: TrialResult) -> float:
        """Return the seconds of the plain loop, with its gradient where one is needed."""
        seconds = self.job.length * result.loop_step
        if self.job.needs_gradient:
            seconds *= GRADIENT_FACTOR
        return seconds

    def _is_spent(self, log: Sequence[Round]) -> bool:
        """Return whether the first rounds have taken as long as the plain loop."""
        budget = self.budget
        spent = 0.0
        for entry in log:
            spent += entry.timing.total
            if spent > budget:
                return True
        return False

    def _try_both(self) -> TrialResult:
        """Return what a trial measures, or has measured for the same kind and size."""
        if self._key not in TRIAL_RESULTS:
            TRIAL_RESULTS[self._key] = TrialResult(
                loop_step=measure_quickest(lambda: self.run_steps(LOOP_STEPS)) / LOOP_STEPS,
                newton_round=measure_newton_round(self.job),
            )
        return TRIAL_RESULTS[self._key]

    @property
    def _key(self) -> Hashable:
        """What is the same for jobs that take about as long."""
        job = self.job
        kind = type(job.cell)
        if isinstance(job.cell, FunctionCell):
            kind = getattr(job.cell.function, "kind", kind)
        return kind, job.start.shape, job.start.dtype, job.start.device, job.length


def decline_size(length: int, width: int) -> str | None:
    """Say that so few steps, or so wide states, gain nothing in parallel; None where a trial decides."""
    if length >= MIN_NEWTON_LENGTH and width <= MAX_NEWTON_WIDTH:
        return None
    return (
        f"The plain loop was taken: {length} steps of {width} elements gain nothing in parallel; "
        "method=Newton() tries all the same."
    )


@torch.no_grad()
def measure_newton_round(job: RecurrenceJob) -> float:
    """Return the seconds of a round of Newton over the whole length, on the line through two trials."""
    process = job.process
    start = job.start.detach()
    short, long = (min(length, job.length, job.max_width) for length in TRIAL_LENGTHS)
    steps = torch.arange(long, device=start.device)
    rows = start.expand(long, *start.shape).contiguous()

    def take_round(count: int) -> None:
        outputs, slopes = process.evaluate_with_jacobian(steps[:count], rows[:count])
        affine_scan(slopes, outputs, start, differentiable=False)

    short_seconds = measure_quickest(lambda: take_round(short))
    long_seconds = measure_quickest(lambda: take_round(long))
    return extend_line((short, short_seconds), (long, long_seconds), job.length)


def extend_line(
    short: tuple[int, float],
    long: tuple[int, float],
    length: int,
) -> float:
    """Return the seconds at a length, on the line through two measurements `(length, seconds)` that does not fall."""
    steps = max(long[0] - short[0], 1)
    slope = max(long[1] - short[1], 0.0) / steps
    return long[1] + slope * (length - long[0])


def measure_quickest(call: Callable[[], object]) -> float:
    """Return the seconds of the quickest of a few calls, after one that is not counted."""
    call()
    timings = []
    for _ in range(TRIAL_REPEATS):
        start_time = time.perf_counter()
        call()
        timings.append(time.perf_counter() - start_time)
    return min(timings)
