"""Whether a pipeline calls a network with what was evaluated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import Output, Sample, Time
from forerun.diffusion.pipelines.call_graph import Part
from forerun.diffusion.pipelines.calls import flatten
from forerun.diffusion.pipelines.hooks import PendingCall

SINGLE = 4  # bytes
ROUNDINGS = 8  # of half precision, beyond the tolerance


def differing(part: Part, expected: Any, came: PendingCall, *, threshold: float) -> str | None:
    """Which argument of a call is not the one that was evaluated, `(args, kwargs)`; None where all are.

    Args:
        threshold: how far the samples may lie off, as root mean square in their own units.
    """
    evaluated, spec = flatten(*expected, listed=part.listed)
    arrived, other = flatten(came.args, came.kwargs, listed=part.listed)
    if spec != other or len(evaluated) != len(part.leaves):
        return "the arguments"
    for leaf, (path, ours), (_, theirs) in zip(part.leaves, evaluated, arrived, strict=True):
        if not _same(leaf, ours, theirs, threshold):
            return f"the argument {path.split('.', 1)[1]}"
    return None


def _same(leaf: Any, ours: Any, theirs: Any, threshold: float) -> bool:
    if isinstance(leaf, Output):
        return isinstance(theirs, Tensor) and torch.equal(ours, theirs)
    if isinstance(leaf, Sample):
        return _near(leaf, ours, theirs, threshold)
    if isinstance(leaf, Time):
        made, seen = (torch.as_tensor(each).double() for each in (ours, theirs))
        half = isinstance(theirs, Tensor) and theirs.is_floating_point() and theirs.dtype.itemsize < SINGLE
        close = 2 * torch.finfo(theirs.dtype).eps if half else 1e-5
        return made.shape == seen.shape and torch.allclose(made, seen, rtol=close, atol=1e-6)
    return _equal(ours, theirs)


def _near(leaf: Sample, ours: Any, theirs: Any, threshold: float) -> bool:
    if leaf.listed:
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            return False
        ours, theirs = torch.stack(ours), torch.stack(theirs)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    rows, seen = ours.flatten(1).float(), theirs.flatten(1).float()
    size = seen.shape[1] ** 0.5
    off = torch.linalg.vector_norm(rows - seen, dim=1) / size
    rounding = torch.finfo(theirs.dtype).eps * ROUNDINGS * torch.linalg.vector_norm(seen, dim=1) / size
    return bool((off <= threshold + rounding).all())


def _equal(ours: Any, theirs: Any) -> bool:
    if ours is theirs:
        return True
    if isinstance(ours, Tensor):
        return (
            isinstance(theirs, Tensor)
            and ours.shape == theirs.shape
            and ours.dtype == theirs.dtype
            and torch.equal(ours, theirs)
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    return bool(ours == theirs)
