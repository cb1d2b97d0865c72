"""The run of `forerun text3d`: ahead, and in order where it is to be compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from forerun.cli.kit.stopping import RunInterrupted
from forerun.cli.text3d.options import Text3dOptions
from forerun.engine.methods import Sequential
from forerun.engine.options import SolveOptions
from forerun.engine.progress import Progress
from forerun.engine.solution import Solution, Status
from forerun.engine.windows import Sliding
from forerun.optim.events import SaveEvery
from forerun.optim.text3d.camera import held_out_cameras
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.sculpture import Sculpture, SculptureOptions, psnr

CHECKPOINT_STEPS = 20  # between checkpoints


@dataclass(frozen=True)
class Text3dComparison:
    """The run in order, beside the run ahead.

    Attributes:
        seconds: of the run in order.
        quality: of its solid, in decibels.
        likeness: how near the pictures of the two are, in decibels.
    """

    seconds: float
    quality: float
    likeness: float


@dataclass(frozen=True)
class Text3dOutcome:
    """A finished run.

    Attributes:
        sculpture: what was shaped.
        solution: of the run ahead.
        seconds: of the run ahead; None where it was resumed.
        quality: of the solid, in decibels.
        in_order: None where it was not asked for.
    """

    sculpture: Sculpture
    solution: Solution
    seconds: float | None
    quality: float
    in_order: Text3dComparison | None = None


@dataclass(frozen=True)
class Text3dCheckpoints:
    """Where checkpoints are written, and the one to go on from."""

    path: Path
    resume: Path | None


def prepare_sculpture(options: Text3dOptions) -> Sculpture:
    """Load the prior; nothing runs yet.

    Raises:
        ValueError: a number makes no sense.
    """
    sculpture_options = SculptureOptions(
        steps=options.steps,
        views=options.views,
        size=options.size,
        guidance=options.guidance,
        rate=options.rate,
        seed=options.seed,
    )
    return Sculpture(options.prompt, sculpture_options)


def run_text3d(
    sculpture: Sculpture,
    options: Text3dOptions,
    solve_options: SolveOptions,
    checkpoints: Text3dCheckpoints,
    *,
    progress: Progress,
) -> Text3dOutcome:
    """Shape the solid in parallel over steps.

    Raises:
        RunInterrupted: Ctrl-C; the checkpoint is written.
        ValueError: the checkpoint is of another loop.
    """
    options.save(checkpoints.path)
    loop = sculpture.build_loop(options=solve_options, progress=progress)
    begin = time.perf_counter()
    try:
        run = loop.run(
            options.steps,
            resume=checkpoints.resume,
            save=SaveEvery(CHECKPOINT_STEPS, checkpoints.path),
        )
        solution = run.solution()
    except KeyboardInterrupt:
        raise RunInterrupted(_progress_words(loop.step, options.steps)) from None
    if solution.status is Status.INTERRUPTED:
        raise RunInterrupted(_progress_words(solution.step, options.steps))
    seconds = time.perf_counter() - begin
    if checkpoints.resume is not None:
        return Text3dOutcome(sculpture, solution, None, sculpture.measure_quality())
    return Text3dOutcome(sculpture, solution, seconds, sculpture.measure_quality())


def run_in_order(sculpture: Sculpture, progress: Progress) -> Text3dComparison:
    """Shape the same solid step by step, and measure how near the two came."""
    other = Sculpture(sculpture.solid.prompt, sculpture.options)
    begin = time.perf_counter()
    loop = other.build_loop(
        method=Sequential(),
        window=Sliding(1),
        check=False,
        progress=progress,
    )
    loop.run(sculpture.options.steps).solution()
    seconds = time.perf_counter() - begin
    ours = sculpture.render_views(held_out_cameras(), PRIOR_SIDE)
    theirs = other.render_views(held_out_cameras(), PRIOR_SIDE)
    return Text3dComparison(seconds, other.measure_quality(), psnr(ours, theirs))


def _progress_words(step: int, length: int) -> str:
    return f"{step} of {length} steps are accepted."
