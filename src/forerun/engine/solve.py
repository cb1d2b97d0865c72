"""solve: evaluate a window, sweep, measure, accept the leading steps, slide; and check the end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Unpack

import torch

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.methods import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveKeywords, SolveOptions, SolveSettings
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.run import Run
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.engine.tolerance import PerStep, Tolerance


def solve(
    process: Process,
    state: Tree,
    *,
    options: SolveOptions | None = None,
    resume: Checkpoint | str | Path | None = None,
    path: bool = False,
    throw: bool = True,
    **keywords: Unpack[SolveKeywords],
) -> Solution:
    """The state after all steps of a process, many steps at a time.

    Args:
        process: the computation.
        state: its first state, a tree of tensors and plain values.
        options: how to solve, as one object.
        resume: a checkpoint, or the file of one, to go on from instead of from `state`.
        path: keep the states `x_0 .. x_length`; with `resume`, from the checkpoint on.
        throw: raise where the run cannot reach its end, rather than return what it has.
        keywords: the options one by one: `method`, `window`, `tolerance`, `check`, `guess`, `backend`, `progress`,
            `callback`; `SolveOptions` says what they mean.

    Returns:
        A `Solution`; after a KeyboardInterrupt, one with what was accepted so far.

    Raises:
        NotConverged: a step was not finite, and `throw`.
        TypeError: an argument or a leaf of the state is of the wrong kind.
        ValueError: the process does not keep its contract; the message has the line to type.
        Exception: whatever evaluate or advance raise, or a rank that is lost; its `checkpoint` has what is accepted.
    """
    settings = SolveOptions.gather(options, keywords).settled()
    solution = _driven(solving(process, state, settings, resume=resume, path=path), settings.callback)
    if throw and solution.status is Status.NONFINITE:
        raise NotConverged(solution)
    return solution


@torch.no_grad()
def solving(
    process: Process,
    state: Tree,
    settings: SolveSettings,
    *,
    resume: Checkpoint | str | Path | None = None,
    path: bool = False,
) -> Generator[RoundEvent, Any, Solution]:
    """Solve a round at a time: yield a `RoundEvent` after each, return the `Solution`; a true answer stops it."""
    begin = _begin(process, state, settings.tolerance, resume=resume)
    run = Run(process, begin, settings, path=path)
    status = run.settle() if run.done() else Status.STOPPED
    with settings.progress.track(begin.step, process.length) as report:
        try:
            while not run.done():
                iterate = run.iterate()
                residuals, finite = run.residuals(iterate)
                if finite < 2:  # the input after the exact first step is not
                    status = Status.NONFINITE
                    break
                entry = run.accept(iterate, residuals, min(leading(residuals, run.place.threshold), finite - 1), finite)
                report(entry)
                if (yield _event(run, entry, iterate)):
                    break
                if run.done():
                    status = run.settle()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        except Exception as error:
            error.checkpoint = run.checkpoint()  # type: ignore[attr-defined]
            error.add_note(f"{run.place.front.start} steps are accepted: resume=error.checkpoint goes on from there")
            raise
    return run.solution(status)


def _driven(rounds: Generator[RoundEvent, Any, Solution], callback: Callable[[RoundEvent], Any]) -> Solution:
    """All rounds, each told to the callback; what it raises is raised where the round is."""
    try:
        event = next(rounds)
        while True:
            try:
                answer = callback(event)
            except BaseException as error:
                event = rounds.throw(error)
            else:
                event = rounds.send(answer)
    except StopIteration as end:
        solution: Solution = end.value
        return solution


def leading(residuals: list[float], threshold: float) -> int:
    """Return how many steps to accept: the exact first, and those after it while residuals keep the threshold."""
    # not `residual > threshold`, which would let nan pass
    return next((index for index, size in enumerate(residuals) if index and not size <= threshold), len(residuals))


def _event(run: Run, entry: Round, iterate: WindowUpdate) -> RoundEvent:
    front = run.place.front
    return RoundEvent(entry, front.start, run.problem.length, front.state, run.checkpoint, iterate)


def _begin(process: Any, state: Tree, tolerance: Tolerance, *, resume: Checkpoint | str | Path | None) -> Checkpoint:
    """Return where to begin; refuse what cannot work before anything is evaluated."""
    if not isinstance(process, Process):
        raise TypeError(
            f"solve takes a Process, got {type(process).__name__}; for a function f(i, x) write "
            "solve(Process.from_step(f, length), state)"
        )
    if not isinstance(process.length, int) or process.length < 0:
        raise ValueError(f"process.length is {process.length!r}, but must be a whole number of steps, 0 or more")
    if isinstance(tolerance, PerStep) and len(tolerance.levels) != process.length:
        raise ValueError(
            f"PerStep has {len(tolerance.levels)} levels for {process.length} steps; pass one a step, "
            "levels of shape (length,)"
        )
    if resume is None:
        return Checkpoint(0, process.length, state)
    if not isinstance(resume, Checkpoint | str | Path):
        raise TypeError(
            f"resume takes a Checkpoint or its file, got {type(resume).__name__}; write resume=solution.checkpoint"
        )
    checkpoint = resume if isinstance(resume, Checkpoint) else Checkpoint.load(resume)
    if checkpoint.length != process.length:
        raise ValueError(
            f"the checkpoint is of a process of {checkpoint.length} steps, this one has {process.length}; "
            "resume with the process that wrote it"
        )
    return checkpoint
