"""Both runs of a job: in order, as the pipeline is, and ahead."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.cli.sample.frames import Watch
from forerun.cli.sample.job import Job
from forerun.cli.sample.options import Options, Settings
from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.hooks import PendingCall, PipelineObserver, watch_pipeline
from forerun.diffusion.pipelines.parallel import parallel
from forerun.engine.options import SolveOptions
from forerun.engine.progress import Progress, Silent
from forerun.engine.solution import Solution
from forerun.view import Deviation

WARM_UP = 8  # steps of the runs before any is timed, on a CPU; on a GPU, where new shapes cost more, all


@dataclass(frozen=True)
class Run:
    """A run of a job.

    Attributes:
        pictures: its images, uint8 `(H, W, 3)`.
        sample: that the loop ended in, before it was decoded.
        steps: of the loop.
        seconds: of the whole call, from the text to the images.
    """

    pictures: list[Tensor]
    sample: Tensor
    steps: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A job, done.

    Attributes:
        job: what was run.
        ahead: ahead of order.
        solution: of that run.
        watch: what its rounds foresaw.
        in_order: the pipeline without forerun; None where it was not asked for.
    """

    job: Job
    ahead: Run
    solution: Solution
    watch: Watch
    in_order: Run | None

    @property
    def deviation(self) -> Deviation | None:
        """Of the final samples."""
        return None if self.in_order is None else Deviation.between(self.ahead.sample, self.in_order.sample, 1)

    @property
    def speed_up(self) -> float | None:
        """Time in order over time ahead."""
        return None if self.in_order is None else self.in_order.seconds / self.ahead.seconds

    @property
    def differences(self) -> list[Tensor]:
        """How far the images are apart, uint8 `(H, W, 3)`; none where there is nothing to compare with."""
        if self.in_order is None:
            return []
        pairs = zip(self.ahead.pictures, self.in_order.pictures, strict=True)
        return [(ours.int() - theirs.int()).abs().byte() for ours, theirs in pairs]


class Interrupted(Exception):
    """Raised where the user pressed Ctrl-C; says what was reached."""


@final
class Tape(PipelineObserver):
    """Counts the steps of a loop, and keeps the sample that it ends in; changes nothing."""

    def __init__(self) -> None:
        self.steps = 0
        self.sample: Tensor | None = None

    def begin_loop(self, scheduler: Any) -> None:
        self.steps = 0

    def record_noising(self, noised: NoisingCall) -> None:
        pass

    def call_network(self, name: str, network: nn.Module, asked: PendingCall) -> Any:
        return asked()

    def step_scheduler(self, scheduler: Any, asked: PendingCall) -> Any:
        result = asked()
        self.steps += 1
        self.sample = result[0] if isinstance(result, tuple) else result.prev_sample
        return result


def run(job: Job, options: Options, settings: Settings, *, compare: bool, progress: Progress) -> Outcome:
    """Run a job ahead; and before it in order, both after a warm-up, where they are to be compared.

    Raises:
        Interrupted: Ctrl-C.
        ValueError: the pipeline has no loop.
    """
    in_order = None
    if compare:
        steps = None if settings.device.type == "cuda" else min(WARM_UP, options.steps)
        _ahead(job, options, settings, Silent(), steps)
        in_order = _in_order(job, settings.device)
    return _ahead(job, options, settings, progress, in_order=in_order)


def _in_order(job: Job, device: torch.device) -> Run:
    tape = Tape()
    try:
        with watch_pipeline(job.pipe, tape):
            pictures, seconds = _timed(job.call, device)
    except KeyboardInterrupt:
        raise Interrupted(f"in order, after {tape.steps} steps; no step was run ahead yet") from None
    if tape.sample is None:
        raise ValueError(f"{type(job.pipe).__name__} never stepped its scheduler, so there is no loop to run ahead of")
    return Run(pictures, tape.sample, tape.steps, seconds)


def _ahead(
    job: Job,
    options: Options,
    settings: Settings,
    progress: Progress,
    steps: int | None = None,
    *,
    in_order: Run | None = None,
) -> Outcome:
    watch = Watch()
    try:
        with (
            warnings.catch_warnings(),
            parallel(
                job.pipe,
                strict=options.strict,
                options=SolveOptions(
                    method=watch.method(settings.method),
                    window=settings.window,
                    tolerance=options.tolerance,
                    backend=settings.backend,
                    progress=progress,
                    callback=watch.follow,
                ),
            ) as ahead,
        ):
            warnings.filterwarnings("ignore", "forerun: ", RuntimeWarning)  # what they say are notes of the solution
            pictures, seconds = _timed(lambda: job.call(steps), settings.device)
    except KeyboardInterrupt:
        reached, made = "before the first round", ""
        if watch.event is not None:
            reached = f"{watch.event.step} of {watch.event.length} steps were accepted"
            made = f", after {watch.rounds} rounds"
        raise Interrupted(f"ahead of order; {reached}{made}") from None
    solution = ahead.solution
    if solution is None:
        raise ValueError(f"{type(job.pipe).__name__} never stepped its scheduler, so there is no loop to run ahead of")
    return Outcome(job, Run(pictures, solution.state, solution.step, seconds), solution, watch, in_order)


def _timed(call: Callable[[], list[Tensor]], device: torch.device) -> tuple[list[Tensor], float]:
    begun = time.perf_counter()
    pictures = call()  # images on the CPU: the device is done
    return pictures, time.perf_counter() - begun
