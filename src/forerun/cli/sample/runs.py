"""Both runs of a job: in order, as the pipeline is, and ahead."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from forerun.cli.kit.stopping import RunInterrupted
from forerun.cli.sample.frames import SampleWatch
from forerun.cli.sample.job import SampleJob
from forerun.cli.sample.loop_tape import choose_loop_threads, draw_in_order
from forerun.cli.sample.options import SampleOptions, SampleSettings
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.methods import Secant
from forerun.engine.progress import Progress, Silent
from forerun.engine.solution import Solution
from forerun.view import Deviation

T = TypeVar("T")

WARM_UP_STEPS = 16  # before any run is timed, where a whole one is long: as many as a window opens for
LONGEST_WARM_UP = 60.0  # seconds that a loop may take in order, on a CPU, to be run ahead whole before it is timed


@dataclass(frozen=True)
class PipelineRunResult:
    """A run of a job.

    Attributes:
        pictures: its images, uint8 `(H, W, 3)`.
        sample: that the loop ended in, before it was decoded.
        steps: of the loop.
        seconds: of the whole call, from the text to the images.
        threads: that torch used for a single step.
    """

    pictures: list[Tensor]
    sample: Tensor
    steps: int
    seconds: float
    threads: int


@dataclass(frozen=True)
class SampleOutcome:
    """A job, done.

    Attributes:
        job: what was run.
        ahead: the run in parallel over steps.
        solution: of that run.
        watch: what its rounds foresaw.
        in_order: the pipeline without forerun; None where it was not asked for.
        first_seconds: of the warm-up, where that was a whole run ahead as well.
    """

    job: SampleJob
    ahead: PipelineRunResult
    solution: Solution
    watch: SampleWatch
    in_order: PipelineRunResult | None
    first_seconds: float | None = None

    @property
    def deviation(self) -> Deviation | None:
        """The deviation of the final samples; None where there is nothing to compare with."""
        if self.in_order is None:
            return None
        return Deviation.between(self.ahead.sample, self.in_order.sample, 1)

    @property
    def speed_up(self) -> float | None:
        """Time in order over time ahead; None where there is nothing to compare with."""
        if self.in_order is None:
            return None
        return self.in_order.seconds / self.ahead.seconds

    @property
    def differences(self) -> list[Tensor]:
        """How far the images are apart, uint8 `(H, W, 3)`; none where there is nothing to compare with."""
        if self.in_order is None:
            return []
        differences = []
        for ours, theirs in zip(self.ahead.pictures, self.in_order.pictures, strict=True):
            differences.append((ours.int() - theirs.int()).abs().byte())
        return differences


def run_sample(
    job: SampleJob, options: SampleOptions, settings: SampleSettings, *, compare: bool, progress: Progress
) -> SampleOutcome:
    """Run a job ahead; and before it in order, both after a warm-up, where they are to be compared.

    The warm-up is a run ahead too, whole where that does not take long: what is timed is the second image of its kind,
    and what the first one took is reported as well. On a CPU the loop in order comes before it, warmed up by the trial
    of its threads: where slices have threads of their own, a step alone on two of torch's takes three times as long.

    Raises:
        RunInterrupted: Ctrl-C.
        ValueError: the pipeline has no loop.
    """
    in_order, first_seconds = None, None
    loop_seconds = 0.0
    is_on_cpu = settings.device.type == "cpu"
    if is_on_cpu:
        loop_seconds = options.steps * choose_loop_threads(job, options.threads, options.steps)
    if compare and is_on_cpu:
        in_order = _run_in_order(job)
    if compare:
        warm_up_steps = options.steps if loop_seconds <= LONGEST_WARM_UP else min(WARM_UP_STEPS, options.steps)
        warm_up = _run_ahead(job, settings, strict=options.strict, progress=Silent(), steps=warm_up_steps)
        if warm_up_steps == options.steps:
            first_seconds = warm_up.ahead.seconds
    if compare and not is_on_cpu:
        in_order = _run_in_order(job)
    outcome = _run_ahead(job, settings, strict=options.strict, progress=progress)
    return replace(outcome, in_order=in_order, first_seconds=first_seconds)


def _run_in_order(job: SampleJob) -> PipelineRunResult:
    (tape, pictures), seconds = _time_call(lambda: draw_in_order(job))
    if tape.sample is None:
        raise _without_loop(job)
    return PipelineRunResult(pictures, tape.sample, tape.steps, seconds, torch.get_num_threads())


def _run_ahead(
    job: SampleJob, settings: SampleSettings, *, strict: bool, progress: Progress, steps: int | None = None
) -> SampleOutcome:
    watch = SampleWatch()
    solve_options = replace(
        settings.solve_options,
        method=watch.watch_method(settings.solve_options.method or Secant()),
        progress=progress,
        callback=watch.follow_round,
    )
    try:
        with (
            warnings.catch_warnings(),
            parallel(job.pipe, options=solve_options, strict=strict) as pipeline_run,
        ):
            warnings.filterwarnings("ignore", "forerun: ", RuntimeWarning)  # they are notes of the solution too
            pictures, seconds = _time_call(lambda: job.draw_images(steps))
    except KeyboardInterrupt:
        raise RunInterrupted(f"in parallel over steps; {_progress_words(watch)}") from None
    solution = pipeline_run.solution
    if solution is None:
        raise _without_loop(job)
    ahead = PipelineRunResult(pictures, solution.state, solution.step, seconds, torch.get_num_threads())
    return SampleOutcome(job, ahead, solution, watch, in_order=None)


def _progress_words(watch: SampleWatch) -> str:
    if watch.event is None:
        return "before the first round"
    return f"{watch.event.step} of {watch.event.length} steps were accepted, after {watch.rounds} rounds"


def _without_loop(job: SampleJob) -> ValueError:
    return ValueError(f"{job.pipeline_name} never stepped its scheduler, so there is no loop to run ahead of")


def _time_call(call: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    result = call()  # images on the CPU: the device is done
    return result, time.perf_counter() - begin
