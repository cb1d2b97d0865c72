"""The opening of a run: all that it needs before its first round."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.fingerprint import Fingerprint
from forerun.engine.guesses import Hold
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process
from forerun.engine.rows import Problem
from forerun.engine.run_log import RunLog
from forerun.engine.run_memory import describe_run, recall_run
from forerun.engine.slots import SlotFiller
from forerun.engine.solve_state import SolveState, begin_solve, deviation_is_known
from forerun.engine.validation import ForeignCheckpoint, open_problem, refuse_foreign, take_fingerprint


@dataclass(frozen=True)
class RunOpening:
    """What a run begins with.

    Attributes:
        problem: the process, in rows.
        log: of the rounds to come.
        slots: fills the windows.
        state: where the solve begins.
        fingerprint: what its checkpoints are known again by; None for a part of a run.
        began_exact: it begins on the sequential path.
        deviation_is_known: it is known how far from there it begins.
        settings: how it is solved, its window with what the last run of the same kind has learnt.
        kind: by which the next run of the same kind is known; None where nothing is remembered.
        error: what a guess raised that was to fill the first window; to be raised where the run is guarded.
    """

    problem: Problem
    log: RunLog
    slots: SlotFiller
    state: SolveState
    fingerprint: Fingerprint | None
    began_exact: bool
    deviation_is_known: bool
    settings: SolveSettings
    kind: Hashable
    error: BaseException | None


def open_run(
    process: Process,
    state: Tree,
    settings: SolveSettings,
    *,
    checkpoint: Checkpoint | None,
    path: bool,
    is_whole: bool,
) -> RunOpening:
    """Return what a run begins with, at its first state or at a checkpoint.

    Args:
        process: the computation.
        state: its first state.
        settings: how it is solved.
        checkpoint: to go on from; None for a run that begins at `state`.
        path: keep the states from here on.
        is_whole: it stands by itself, as a part of another run does not.

    Raises:
        ForeignCheckpoint: the checkpoint belongs to another run.
    """
    problem = open_problem(process, state, checkpoint)
    first_step, first_state = 0, state
    if checkpoint is not None:
        first_step, first_state = checkpoint.step, checkpoint.state
        problem.excluded = checkpoint.nonfinite_samples
    log = RunLog(problem, settings.backend, first_step, first_state if path else None)
    slots = SlotFiller(problem, settings.guess, log.evaluate)
    kind = describe_run(problem, settings, first_step) if is_whole else None
    settings = recall_run(kind, settings)
    fingerprint = take_fingerprint(problem, state, checkpoint, is_whole=is_whole)
    opening_error: BaseException | None = None
    try:
        refuse_foreign(checkpoint, problem, state)
        solve_state = begin_solve(slots, settings, state, checkpoint)
    except ForeignCheckpoint:
        raise
    except BaseException as error:  # of a guess that evaluates, or an interrupt
        opening_error = error
        solve_state = begin_solve(replace(slots, guess=Hold()), settings, state, checkpoint)
    return RunOpening(
        problem=problem,
        log=log,
        slots=slots,
        state=solve_state,
        fingerprint=fingerprint,
        began_exact=checkpoint is None or checkpoint.exact,
        deviation_is_known=checkpoint is None or deviation_is_known(checkpoint),
        settings=settings,
        kind=kind,
        error=opening_error,
    )
