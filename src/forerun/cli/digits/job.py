"""The job of `forerun digits`: digits sampled in order and ahead, timed in turn, and compared."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import forerun
from forerun.cli import words
from forerun.cli.kit.solve_options import read_solve_options
from forerun.cli.kit.stopping import RunInterrupted
from forerun.diffusion import Denoising, Schedule
from forerun.engine.baseline import run_plain_loop
from forerun.engine.options import SolveOptions
from forerun.engine.progress import Progress, Silent
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.view import Deviation
from forerun.worlds.digits import load_digits_denoiser

TIMED_RUNS = 3  # of each rival
TIMING_SECONDS = 6.0  # after so many, no more runs are timed
WARM_UP_CALLS = 5  # calls of one step before anything is timed


@dataclass(frozen=True)
class DigitsOptions:
    """What decides the digits and the way to them, in the words of the command line."""

    samples: int
    seed: int
    tolerance: float
    method: str
    window: str
    device: str


@dataclass(frozen=True)
class DigitsJob:
    """A sampler of digits, ready to run.

    Attributes:
        name: of the sampler, with its steps.
        process: the sampler.
        state: its first state, `(samples, 64)`.
        solve_options: how it is run ahead.
    """

    name: str
    process: Denoising
    state: Tensor
    solve_options: SolveOptions

    @property
    def file_stem(self) -> str:
        """The beginning of its files' names."""
        return self.name.lower().replace(", ", "-").removesuffix(" steps").removesuffix(" step")


@dataclass(frozen=True)
class DigitsOutcome:
    """Both runs of a job.

    Attributes:
        job: what was run.
        sequential: the plain loop over the steps, as a solution.
        ahead: the run ahead of it.
        deviation: how far their final states are apart.
        resumed: whether a part of the run ahead was made earlier, so that its time says nothing.
    """

    job: DigitsJob
    sequential: Solution
    ahead: Solution
    deviation: Deviation
    resumed: bool

    @property
    def speed_up(self) -> float | None:
        """Time in order over time ahead; None where the run was resumed."""
        if self.resumed:
            return None
        return self.sequential.seconds.total / self.ahead.seconds.total


def prepare_digits(sampler: words.DigitsSampler, steps: int | None, options: DigitsOptions) -> DigitsJob:
    """Return the process of a sampler and its first state.

    All noise is drawn on the CPU beforehand, in the order of the steps: the digits of a seed are the same on any
    device and in any order of the steps.

    Raises:
        ValueError: a word stands for nothing, or the denoiser was not trained for so many steps.
    """
    solve_options = read_solve_options(
        method=options.method,
        window=options.window,
        tolerance=options.tolerance,
    )
    device = words.find_device(options.device)
    length = sampler.steps if steps is None else steps
    schedule = Schedule.linear().spaced(length).to(device)
    denoiser = load_digits_denoiser().to(device)
    denoiser.schedule = schedule
    generator = torch.Generator().manual_seed(options.seed)
    state = torch.randn(options.samples, 64, generator=generator)
    noise = None
    if sampler.eta:
        draws = [torch.randn(state.shape, generator=generator) for _ in range(length)]
        noise = torch.stack(draws).to(device).__getitem__
    return DigitsJob(
        name=f"{sampler.name}, {length} step{'s' if length > 1 else ''}",
        process=Denoising(denoiser, schedule, eta=sampler.eta, noise=noise),
        state=state.to(device),
        solve_options=replace(solve_options, guess=sampler.guess),
    )


def run_digits(job: DigitsJob, *, progress: Progress, resume: Path | None = None) -> DigitsOutcome:
    """Run a job ahead once to warm up, or to its end from a checkpoint; then both ways in turn, timed.

    Raises:
        RunInterrupted: Ctrl-C.
        ValueError: the checkpoint is not of this job.
    """
    answer = _run_ahead(job, progress, resume)
    reached = f"{answer.step} of {answer.length} steps are accepted, after {answer.rounds} rounds"
    if answer.status is Status.INTERRUPTED:
        raise RunInterrupted(reached, answer)
    try:
        sequential, ahead = _time_in_turn(job, answer, TIMED_RUNS if resume is None else 0)
    except KeyboardInterrupt:
        raise RunInterrupted(reached, answer) from None
    deviation = Deviation.between(ahead.state, sequential.state, 1)
    return DigitsOutcome(job, sequential, ahead, deviation, resume is not None)


def _run_ahead(job: DigitsJob, progress: Progress, resume: Path | None = None) -> Solution:
    return forerun.solve(
        job.process,
        job.state,
        options=job.solve_options,
        progress=progress,
        resume=resume,
    )


def _time_in_turn(job: DigitsJob, answer: Solution, repeats: int) -> tuple[Solution, Solution]:
    """Return the runs of median time in order and ahead; in turn, so that a slow spell of the machine hits both."""
    _warm_up(job)
    begin = time.perf_counter()
    loops = [run_in_order(job)]
    if not repeats:
        return loops[0], answer
    solutions: list[Solution] = []
    while len(solutions) < repeats:
        solutions.append(_run_ahead(job, Silent()))
        if solutions[-1].status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if time.perf_counter() - begin > TIMING_SECONDS:
            break
        loops.append(run_in_order(job))
    return _median_run(loops), _median_run(solutions)


def _warm_up(job: DigitsJob) -> None:
    steps = torch.zeros(1, dtype=torch.int64, device=job.state.device)
    for _ in range(WARM_UP_CALLS):
        job.process.evaluate(steps, job.state[None])


def run_in_order(job: DigitsJob) -> Solution:
    """Return the plain loop, without the engine, as a solution: what running ahead has to beat."""
    length = job.process.length
    begin = time.perf_counter()
    state = run_plain_loop(job.process, job.state)
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)
    seconds = RunTiming(overhead=time.perf_counter() - begin)
    checkpoint = forerun.Checkpoint(length, length, state, rounds=length, evaluations=length)
    return Solution(
        state=state,
        length=length,
        status=Status.SEQUENTIAL,
        log=[],
        deviation=None,
        checkpoint=checkpoint,
        seconds=seconds,
    )


def _median_run(solutions: list[Solution]) -> Solution:
    median = statistics.median_low(solution.seconds.total for solution in solutions)
    return next(solution for solution in solutions if solution.seconds.total == median)
