"""A job: digits sampled in order and ahead, and what lies between."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import forerun
from forerun.cli import words
from forerun.diffusion import Denoising, Schedule
from forerun.engine.guesses import Guess
from forerun.engine.methods import Method
from forerun.engine.progress import Progress, Silent
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.engine.windows import Window
from forerun.view import Deviation
from forerun.worlds.digits import load_digits_denoiser

REPEATS, PATIENCE = 3, 6.0  # timed runs of each rival; no more of them after so many seconds
WARM_UP = 5  # calls of one step before anything is timed


@dataclass(frozen=True)
class Options:
    """What decides the digits and the way to them, in the words of the command line."""

    samples: int
    seed: int
    tolerance: float
    method: str
    window: str
    device: str


@dataclass(frozen=True)
class Settings:
    """The objects behind the words."""

    method: Method
    window: Window
    tolerance: forerun.Absolute
    device: torch.device

    @classmethod
    def of(cls, options: Options) -> Settings:
        """Raises ValueError where a word stands for nothing."""
        return cls(
            words.choose(options.method, words.METHODS, "--method"),
            words.window(options.window),
            forerun.Absolute(options.tolerance),
            words.device(options.device),
        )


@dataclass(frozen=True)
class Job:
    """A sampler of digits, ready to run."""

    name: str
    process: Denoising
    state: Tensor  # (samples, 64)
    guess: Guess

    @property
    def key(self) -> str:
        """The beginning of its files' names."""
        return self.name.lower().replace(", ", "-").removesuffix(" steps").removesuffix(" step")


@dataclass(frozen=True)
class Outcome:
    """Both runs of a job.

    Attributes:
        job: what was run.
        sequential: the plain loop over the steps, as a solution.
        ahead: the run ahead of it.
        deviation: how far their final states are apart.
        resumed: whether a part of the run ahead was made earlier, so that its time says nothing.
    """

    job: Job
    sequential: Solution
    ahead: Solution
    deviation: Deviation
    resumed: bool

    @property
    def speed_up(self) -> float | None:
        """Time in order over time ahead."""
        return None if self.resumed else self.sequential.seconds.total / self.ahead.seconds.total


class Interrupted(Exception):
    """Raised with what was accepted when the user pressed Ctrl-C."""

    def __init__(self, job: Job, solution: Solution) -> None:
        super().__init__()
        self.job, self.solution = job, solution


def prepare(sampler: words.Sampler, steps: int | None, options: Options) -> Job:
    """The process of a sampler and its first state.

    All noise is drawn on the CPU beforehand, in the order of the steps: the digits of a seed are the same on any
    device and in any order of the steps.

    Raises:
        ValueError: the denoiser was not trained for so many steps.
    """
    place = words.device(options.device)
    length = sampler.steps if steps is None else steps
    schedule = Schedule.linear().spaced(length).to(place)
    denoiser = load_digits_denoiser().to(place)
    denoiser.schedule = schedule
    generator = torch.Generator().manual_seed(options.seed)
    state = torch.randn(options.samples, 64, generator=generator)
    drawn = [torch.randn(state.shape, generator=generator) for _ in range(length if sampler.eta else 0)]
    noise = torch.stack(drawn).to(place).__getitem__ if drawn else None
    process = Denoising(denoiser, schedule, eta=sampler.eta, noise=noise)
    name = f"{sampler.name}, {length} step{'s' if length > 1 else ''}"
    return Job(name, process, state.to(place), sampler.guess)


def run(job: Job, settings: Settings, *, progress: Progress, resume: Path | None = None) -> Outcome:
    """Run a job ahead once to warm up, or to its end from a checkpoint; then both ways in turn, timed.

    Raises:
        Interrupted: Ctrl-C.
        ValueError: the checkpoint is not of this job.
    """
    answer = _ahead(job, settings, progress, resume)
    if answer.status is Status.INTERRUPTED:
        raise Interrupted(job, answer)
    try:
        sequential, ahead = _timed(job, settings, answer, REPEATS if resume is None else 0)
    except KeyboardInterrupt:
        raise Interrupted(job, answer) from None
    return Outcome(job, sequential, ahead, Deviation.between(ahead.state, sequential.state, 1), resume is not None)


def _ahead(job: Job, settings: Settings, progress: Progress, resume: Path | None = None) -> Solution:
    return forerun.solve(
        job.process,
        job.state,
        method=settings.method,
        window=settings.window,
        tolerance=settings.tolerance,
        guess=job.guess,
        progress=progress,
        resume=resume,
    )


def _timed(job: Job, settings: Settings, answer: Solution, repeats: int) -> tuple[Solution, Solution]:
    """The runs of median time in order and ahead; in turn, so that a slow spell of the machine hits both."""
    steps = torch.zeros(1, dtype=torch.int64, device=job.state.device)
    for _ in range(WARM_UP):
        job.process.evaluate(steps, job.state[None])
    begun = time.perf_counter()
    loops, solutions = [in_order(job)], [] if repeats else [answer]
    while len(solutions) < repeats:
        solutions.append(_ahead(job, settings, Silent()))
        if solutions[-1].status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if time.perf_counter() - begun > PATIENCE:
            break
        loops.append(in_order(job))
    return _median(loops), _median(solutions)


@torch.no_grad()
def in_order(job: Job) -> Solution:
    """The loop that everyone writes, without forerun's engine: what running ahead has to beat."""
    process, state = job.process, job.state
    begun = time.perf_counter()
    for step in range(process.length):
        index = torch.tensor([step], device=state.device)
        state = process.advance(step, state, process.evaluate(index, state[None])[0])
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)
    seconds = time.perf_counter() - begun
    end = forerun.Checkpoint(process.length, process.length, state, rounds=process.length, evaluations=process.length)
    return Solution(state, process.length, Status.SEQUENTIAL, [], None, end, RunTiming(overhead=seconds))


def _median(solutions: list[Solution]) -> Solution:
    middle = statistics.median_low(solution.seconds.total for solution in solutions)
    return next(solution for solution in solutions if solution.seconds.total == middle)
