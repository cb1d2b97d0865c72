"""What a solve refuses before anything is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.fingerprint import Fingerprint
from forerun.engine.numerics.tree import Tree, describe_tree
from forerun.engine.process import Process
from forerun.engine.rows import Problem
from forerun.engine.tolerance import PerStep, Tolerance


def refuse_process(process: Any, tolerance: Tolerance) -> None:
    """Refuse what is not a process, or a tolerance of another length.

    Raises:
        TypeError: it is not a `Process`.
        ValueError: its length is not a number of steps, or the tolerance has levels for another number.
    """
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


def load_resumed(resume: Checkpoint | str | Path | None, process: Process) -> Checkpoint | None:
    """Return the checkpoint to go on from; None where a run begins at its first state.

    Raises:
        TypeError: `resume` is neither a checkpoint nor a file.
        ValueError: it is of a process of another length.
    """
    if resume is None:
        return None
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
    if not isinstance(checkpoint.step, int) or not 0 <= checkpoint.step <= checkpoint.length:
        raise ValueError(
            f"the checkpoint stands at step {checkpoint.step!r} of {checkpoint.length}, which is not a step of the "
            "process; pass solution.checkpoint, or a file that save() wrote, as it is"
        )
    return checkpoint


class ForeignCheckpoint(ValueError):
    """Raised where a checkpoint is of another process, or of another state, than those that are to go on."""


def open_problem(process: Process, state: Tree, checkpoint: Checkpoint | None) -> Problem:
    """Return the process in rows, as it goes on from a state, or from a checkpoint that fits to both.

    Raises:
        ForeignCheckpoint: the process does not take the state of the checkpoint, or it is of another kind than `state`.
    """
    if checkpoint is None:
        return Problem(process, state)
    try:
        problem = Problem(process, checkpoint.state)
        problem.observe(state)
        if checkpoint.shadow is not None:
            problem.observe(checkpoint.shadow)
    except Exception as error:
        raise ForeignCheckpoint(
            f"the checkpoint holds the state {describe_tree(checkpoint.state)}, which does not fit to this process and "
            f"the state {describe_tree(state)} ({type(error).__name__}: {error}). Resume with the process and the "
            "first state of the run that wrote it; from another device by Checkpoint.load(path, device)"
        ) from error
    _refuse_rows(checkpoint.guessed_inputs, problem.observe(checkpoint.state))
    return problem


def _refuse_rows(rows: Tensor | None, like: Tensor) -> None:
    """Refuse guessed inputs that are not rows as inputs are."""
    if rows is None:
        return
    if rows.shape[1:] != like.shape or rows.dtype != like.dtype or rows.device != like.device:
        raise ForeignCheckpoint(
            f"the checkpoint holds guessed inputs {describe_tree(rows)}, but an input of this process is a row "
            f"{describe_tree(like)}; resume with the process that wrote it, or without the guesses: "
            "resume=dataclasses.replace(checkpoint, guessed_inputs=None)"
        )


def refuse_foreign(checkpoint: Checkpoint | None, problem: Problem, state: Tree) -> None:
    """Refuse a checkpoint of another run; evaluates two steps that its run evaluated.

    Raises:
        ForeignCheckpoint: process, first state, outputs or steps are others.
    """
    if checkpoint is None or checkpoint.fingerprint is None:
        return
    # who passes the state of the checkpoint does not say with which one the run began
    goes_on = torch.equal(problem.observe(state), problem.observe(checkpoint.state))
    place = (checkpoint.step, checkpoint.state)
    difference = checkpoint.fingerprint.describe_difference(problem, place, None if goes_on else state)
    if difference is not None:
        raise ForeignCheckpoint(
            f"the checkpoint belongs to another run: {difference}. Resume with the process and the first state of the "
            "run that wrote it; to go on all the same, write "
            "resume=dataclasses.replace(checkpoint, fingerprint=None)"
        )


def take_fingerprint(
    problem: Problem, state: Tree, checkpoint: Checkpoint | None, *, is_whole: bool
) -> Fingerprint | None:
    """Return what the checkpoints of a run are known again by; None for a part of one, whose process may change."""
    if not is_whole:
        return None
    if checkpoint is not None:
        return checkpoint.fingerprint or Fingerprint.from_process(problem.process, None)
    return Fingerprint.from_process(problem.process, state)
