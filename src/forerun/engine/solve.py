"""solve: evaluate a window, sweep, measure, accept the leading steps, slide; and check the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.methods import Sequential
from forerun.engine.numerics.in_place import ChangedInPlace, InPlaceWatch
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.options import Callback, SolveKeywords, SolveOptions, SolveSettings, ignore_event
from forerun.engine.process import Process
from forerun.engine.run import SolveRun
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.engine.step_witness import report_difference, watch_steps


def solve(
    process: Process,
    state: Tree,
    *,
    options: SolveOptions | None = None,
    resume: Checkpoint | str | Path | None = None,
    path: bool = False,
    throw: bool = True,
    leave_out: bool = True,
    **keywords: Unpack[SolveKeywords],
) -> Solution:
    """Compute the state after all steps of a process, many steps at a time.

    Args:
        process: the computation.
        state: its first state, a tree of tensors and plain values.
        options: how to solve, as one object.
        resume: a checkpoint, or the file of one, to go on from instead of from `state`.
        path: keep the states `x_0 .. x_length`; with `resume`, from the checkpoint on.
        throw: raise where the run cannot reach its end, rather than return what it has.
        leave_out: go on without samples that are not finite, where others are left; they are not finite in the answer
            either, and `solution.nonfinite_samples` names them.
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
    run = SolveRun(process, state, settings, resume=resume, path=path, leaves_out=leave_out)
    witness = watch_steps(run, settings)
    if witness is None:
        solution = run_to_end(run, settings)
    else:
        solution = run_to_end(run, settings, follow=witness.watch_round)
        solution = replace(solution, witnessed=witness.count)
    if witness is not None and witness.difference is not None:
        report_difference(witness.difference, strict=settings.strict)
        in_order = replace(settings, method=Sequential())
        run = SolveRun(process, state, in_order, resume=resume, path=path, leaves_out=leave_out)
        solution = run_to_end(run, in_order)
        solution = replace(solution, notes=(witness.difference, *solution.notes))
    if throw and solution.status is Status.NONFINITE:
        raise NotConverged(solution)
    return solution


def run_to_end(run: SolveRun, settings: SolveSettings, *, follow: Callback = ignore_event) -> Solution:
    """Take round after round until the run ends, or its callback stops it.

    Args:
        run: the run.
        settings: how it is solved, with the user's callback.
        follow: called before it after every round, and trusted to change nothing; it may stop the run too.
    """
    with run.guarded() as report:
        while run.goes_on():
            event = run.take_round()
            if event is None:
                break
            report(event.round)
            if follow(event) or call_unchanged(settings.callback, event):
                run.end(Status.STOPPED)
    return run.solution()


def call_unchanged(callback: Callback, event: RoundEvent) -> bool:
    """Call a callback, which must not change what it is shown in place, and return whether it asks to stop."""
    if callback is ignore_event:
        return False
    watch, tensors = InPlaceWatch(), [*tree_tensors(event.state), event.update.inputs, event.update.outputs]
    watch.begin_call(tensors)
    stops = callback(event)
    if watch.is_changed(tensors):
        raise ChangedInPlace(
            f"the callback modified the event of step {event.step} in place, and with it what the run goes on from; "
            "let it change a copy, such as event.state.clone(), and pass what it changes to the next solve"
        )
    return bool(stops)
