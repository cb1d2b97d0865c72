"""The run of `forerun text3d`: ahead, and in order where it is to be compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from forerun.cli.text3d.options import Options, Settings
from forerun.engine.methods import Sequential
from forerun.engine.progress import Progress
from forerun.engine.solution import Solution, Status
from forerun.engine.windows import Sliding
from forerun.optim.events import SaveEvery
from forerun.optim.text3d.camera import held_out_cameras
from forerun.optim.tolerance import StepLength
from forerun.worlds.solids import sculpture
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.sculpture import Sculpture, psnr

EVERY = 20  # steps between checkpoints


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run; what was accepted is in its checkpoint."""

    def __init__(self, step: int, length: int) -> None:
        super().__init__()
        self.step, self.length = step, length


@dataclass(frozen=True)
class Ordered:
    """The run in order: its time, its quality, and how near the run ahead came to its pictures, in decibels."""

    seconds: float
    quality: float
    likeness: float


@dataclass(frozen=True)
class Outcome:
    """A finished run; `seconds` is None where it was resumed."""

    sculpture: Sculpture
    solution: Solution
    seconds: float | None
    quality: float
    order: Ordered | None


def prepare(options: Options) -> Sculpture:
    """Load the prior; nothing runs yet.

    Raises:
        ValueError: a number makes no sense.
    """
    settings = sculpture.SculptureOptions(
        steps=options.steps,
        views=options.views,
        size=options.size,
        guidance=options.guidance,
        rate=options.rate,
        seed=options.seed,
    )
    return Sculpture(options.prompt, settings)


@dataclass(frozen=True)
class Files:
    """Where checkpoints are written, and the one to go on from."""

    checkpoint: Path
    resume: Path | None


def run(job: Sculpture, options: Options, settings: Settings, files: Files, *, progress: Progress) -> Outcome:
    """Shape the thing ahead of order.

    Raises:
        Interrupted: Ctrl-C; the checkpoint is written.
        ValueError: the checkpoint is of another loop.
    """
    options.save(files.checkpoint)
    loop = job.build_loop(
        method=settings.method, window=settings.window, tolerance=StepLength(options.tolerance), progress=progress
    )
    begun = time.perf_counter()
    try:
        running = loop.run(options.steps, resume=files.resume, save=SaveEvery(EVERY, files.checkpoint))
        solution = running.solution()
    except KeyboardInterrupt:
        raise Interrupted(loop.step, options.steps) from None
    if solution.status is Status.INTERRUPTED:
        raise Interrupted(solution.step, options.steps)
    seconds = time.perf_counter() - begun
    return Outcome(job, solution, None if files.resume else seconds, job.measure_quality(), None)


def in_order(job: Sculpture, progress: Progress) -> Ordered:
    """The same thing shaped step by step, and how near the two came."""
    other = Sculpture(job.solid.prompt, job.options)
    begun = time.perf_counter()
    loop = other.build_loop(method=Sequential(), window=Sliding(1), check=None, progress=progress)
    loop.run(job.options.steps).solution()
    seconds = time.perf_counter() - begun
    views = [each.render_views(held_out_cameras(), PRIOR_SIDE) for each in (job, other)]
    return Ordered(seconds, other.measure_quality(), psnr(*views))
