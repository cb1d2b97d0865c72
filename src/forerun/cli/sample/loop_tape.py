"""LoopTape: counts and times the steps of a pipeline's own loop."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.cli.kit.stopping import RunInterrupted
from forerun.cli.sample.job import SampleJob
from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.hooks import PipelineObserver, watch_pipeline
from forerun.diffusion.pipelines.watched_method import PendingCall

TRIAL_STEPS = 8  # of a loop, from which it shows how many threads it is quickest with


@final
class LoopTape(PipelineObserver):
    """Counts the steps of a loop, times them, and keeps the sample that it ends in; changes nothing."""

    def __init__(self) -> None:
        self.sample: Tensor | None = None
        self._times: list[float] = []

    @property
    def steps(self) -> int:
        """Number of steps so far."""
        return len(self._times)

    @property
    def mean_step(self) -> float:
        """Mean seconds of a step but the first; infinite where there was none."""
        seconds = [end - begin for begin, end in pairwise(self._times)]
        return sum(seconds) / len(seconds) if seconds else float("inf")

    def begin_loop(self, scheduler: Any) -> None:
        self._times = []

    def record_noising(self, noising: NoisingCall) -> None:
        pass

    def call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        return call()

    def step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        result = call()
        self._times.append(time.perf_counter())
        self.sample = result[0] if isinstance(result, tuple) else result.prev_sample
        return result


def draw_in_order(job: SampleJob, steps: int | None = None) -> tuple[LoopTape, list[Tensor]]:
    """Return the images of the pipeline's own run, with the tape of its loop.

    Raises:
        RunInterrupted: Ctrl-C.
    """
    tape = LoopTape()
    try:
        with watch_pipeline(job.pipe, tape):
            return tape, job.draw_images(steps)
    except KeyboardInterrupt:
        raise RunInterrupted(f"in order, after {tape.steps} steps; no step was run ahead yet") from None


def choose_loop_threads(job: SampleJob, max_threads: int, steps: int) -> float:
    """Let torch use as many threads as the pipeline's own loop is quickest with: one, or all that it may.

    Returns:
        Seconds of a step with them.
    """
    seconds = {}
    for threads in sorted({1, max_threads}):
        torch.set_num_threads(threads)
        tape, _ = draw_in_order(job, min(TRIAL_STEPS, steps))
        seconds[threads] = tape.mean_step
    threads = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(threads)
    return seconds[threads]
