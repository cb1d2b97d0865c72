"""Where a resumed loop begins: a checkpoint of the same loop, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.optim.parameters import Parameters


def load_restart(
    resume: Checkpoint | str | Path,
    parameters: Parameters,
    description: str,
    *,
    end: int,
    has_barriers: bool,
) -> Checkpoint:
    """Return the checkpoint to go on from, with the end of the run as its length.

    Args:
        resume: a checkpoint, or its file.
        parameters: of the loop.
        description: of the loop, as its checkpoints carry it.
        end: the step that the run ends at.
        has_barriers: whether the shapes of parameters may have changed on the way.

    Raises:
        ValueError: the checkpoint is not one of this loop, or beyond the end of the run.
    """
    checkpoint = resume if isinstance(resume, Checkpoint) else Checkpoint.load(resume)
    if not _is_loop_state(checkpoint.state):
        raise ValueError("the checkpoint is not one of an optimiser loop; resume with what Loop.run(..., save=) wrote")
    if checkpoint.state["description"] != description:
        raise ValueError(
            f"the checkpoint is of another loop: of {checkpoint.state['description']}; this one is {description}. "
            "Resume with the loop that wrote it, or leave resume out"
        )
    if not has_barriers:
        _require_shapes(checkpoint, parameters)
    if checkpoint.step > end:
        raise ValueError(
            f"the checkpoint is at step {checkpoint.step}, after the end of this run at {end}; "
            f"run({checkpoint.step}) or more"
        )
    return replace(checkpoint, length=end)


def _is_loop_state(state: Any) -> bool:
    """Return whether a checkpoint's state is that of a loop."""
    if not isinstance(state, dict) or "description" not in state:
        return False
    return all(isinstance(tensor, Tensor) for tensor in state["params"])


def _require_shapes(checkpoint: Checkpoint, parameters: Parameters) -> None:
    saved_shapes = [list(tensor.shape) for tensor in checkpoint.state["params"]]
    loop_shapes = [list(tensor.shape) for tensor in parameters.tensors]
    if saved_shapes != loop_shapes:
        raise ValueError(
            f"the checkpoint holds parameters of shapes {saved_shapes}, but the loop's are {loop_shapes}; resume with "
            "the loop that wrote it"
        )
