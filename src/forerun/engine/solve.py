"""solve: evaluate a window, sweep, measure, accept the leading steps, slide; and check the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forerun.engine.backends import Backend, Local
from forerun.engine.check import Check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.guesses import Guess, Hold
from forerun.engine.methods import Method, Secant, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.progress import Progress, Silent
from forerun.engine.rounds import Round
from forerun.engine.run import Run, Setting
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.engine.tolerance import Absolute, PerStep, Tolerance
from forerun.engine.windows import Auto, Window


@dataclass(frozen=True)
class Event:
    """What a callback sees after a round.

    Attributes:
        entry: the round.
        step: steps accepted so far.
        length: steps of the process.
        state: the state of step `step`.
        checkpoint: makes a `Checkpoint` of what is accepted.
        iterate: what the method made of the window: its newest outputs, and the path that they lead to.
    """

    entry: Round
    step: int
    length: int
    state: Tree
    checkpoint: Callable[[], Checkpoint]
    iterate: WindowUpdate

    @property
    def states(self) -> Sequence[Tree]:
        """Those of the steps accepted in this round, the last of them `state`."""
        return self.iterate.states[: self.entry.accepted]


def solve(
    process: Process,
    state: Tree,
    *,
    method: Method = Secant(),
    window: Window = Auto(),
    tolerance: Tolerance = Absolute(1e-3),
    check: bool | Check = True,
    guess: Guess = Hold(),
    backend: Backend = Local(),
    progress: Progress = Silent(),
    callback: Callable[[Event], Any] = lambda event: None,
    resume: Checkpoint | str | Path | None = None,
    path: bool = False,
    throw: bool = True,
) -> Solution:
    """The state after all steps of a process, many steps at a time.

    Args:
        process: the computation.
        state: its first state, a tree of tensors and plain values.
        method: how outputs become the next path.
        window: how many steps are in flight.
        tolerance: how far a step's input may still move in the round that accepts it and, with `check`, how far the
            final state may be from the sequential run's.
        check: estimate the deviation of the final state; go back, and on, until it is within the tolerance. `Check`
            has its settings; False leaves it out.
        guess: what stands in a slot before its first evaluation.
        backend: where rounds are evaluated.
        progress: what is shown meanwhile.
        callback: called with an `Event` after every round; a true answer stops the run.
        resume: a checkpoint, or the file of one, to go on from instead of from `state`.
        path: keep the states `x_0 .. x_length`; with `resume`, from the checkpoint on.
        throw: raise where the run cannot reach its end, rather than return what it has.

    Returns:
        A `Solution`; after a KeyboardInterrupt, one with what was accepted so far.

    Raises:
        NotConverged: a step was not finite, and `throw`.
        TypeError: an argument or a leaf of the state is of the wrong kind.
        ValueError: the process does not keep its contract; the message has the line to type.
        Exception: whatever evaluate or advance raise, or a rank that is lost; its `checkpoint` has what is accepted.
    """
    checked = (Check() if check else None) if isinstance(check, bool) else check
    setting = Setting(method, window, tolerance, checked, guess, backend, path)
    solution = _driven(solving(process, state, setting, progress=progress, resume=resume), callback)
    if throw and solution.status is Status.NONFINITE:
        raise NotConverged(solution)
    return solution


@torch.no_grad()
def solving(
    process: Process,
    state: Tree,
    setting: Setting,
    *,
    progress: Progress = Silent(),
    resume: Checkpoint | str | Path | None = None,
) -> Generator[Event, Any, Solution]:
    """`solve`, a round at a time: yields an `Event` after each, and returns the `Solution`; a true answer stops it."""
    begin = _begin(process, state, setting, progress, resume=resume)
    run = Run(process, begin, setting)
    status = run.settle() if run.done() else Status.STOPPED
    with progress.track(begin.step, process.length) as report:
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


def _driven(rounds: Generator[Event, Any, Solution], callback: Callable[[Event], Any]) -> Solution:
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


def _event(run: Run, entry: Round, iterate: WindowUpdate) -> Event:
    front = run.place.front
    return Event(entry, front.start, run.problem.length, front.state, run.checkpoint, iterate)


EXAMPLES: dict[type, str] = {
    Method: "Secant()",
    Window: "Sliding(32)",
    Tolerance: "Absolute(1e-3)",
    Guess: "Hold()",
    Backend: "Local()",
    Progress: "Bar()",
}


def _require(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name}={value!r} is no {kind.__name__}; write {name}=forerun.{EXAMPLES[kind]}")


def _begin(
    process: Any, state: Tree, setting: Setting, progress: Progress, *, resume: Checkpoint | str | Path | None
) -> Checkpoint:
    """Where to begin; refuses what cannot work before anything is evaluated."""
    for name, value, kind in (
        ("method", setting.method, Method),
        ("window", setting.window, Window),
        ("tolerance", setting.tolerance, Tolerance),
        ("guess", setting.guess, Guess),
        ("backend", setting.backend, Backend),
        ("progress", progress, Progress),
    ):
        _require(name, value, kind)
    tolerance = setting.tolerance
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
