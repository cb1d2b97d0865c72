"""What a solve refuses before anything is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.process import Process
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
    return checkpoint
