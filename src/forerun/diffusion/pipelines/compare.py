"""Comparison of a call that a pipeline is about to make with the call that was evaluated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import (
    ArgumentSource,
    ConstantArgument,
    OutputArgument,
    RowArgument,
    SampleArgument,
    StepBatch,
)
from forerun.diffusion.pipelines.call_graph import TracedCall
from forerun.diffusion.pipelines.network_state import tensor_version
from forerun.diffusion.pipelines.times import TimeArgument
from forerun.diffusion.pipelines.watched_method import PendingCall

FULL_PRECISION_BYTES = 4
SAMPLE_ROUNDINGS = 8  # of the network's dtype, beyond the tolerance


def find_difference(
    traced: TracedCall,
    batch: StepBatch,
    actual: PendingCall,
    *,
    threshold: float,
) -> str | None:
    """Return which argument of a call is not the one that was evaluated; None where all are.

    Args:
        traced: the call.
        batch: the step for which it was evaluated, and the samples.
        actual: the call that the pipeline is about to make.
        threshold: how far the samples may lie off, as root mean square in their own units.
    """
    theirs = traced.list_leaves(actual)
    if theirs is None:
        return "the arguments"
    for place, (source, their_value) in enumerate(zip(traced.sources, theirs, strict=True)):
        if _was_edited(source) or not _agrees(source, source.build(batch), their_value, threshold):
            _, name = traced.leaf_paths[place].split(".", 1)
            return f"the argument {name}"
    return None


def _was_edited(source: ArgumentSource) -> bool:
    """Return whether a constant was changed in place since it was traced."""
    if not isinstance(source, ConstantArgument | RowArgument):
        return False
    return tensor_version(source.value) != source.version


def _agrees(
    source: ArgumentSource,
    ours: Any,
    theirs: Any,
    threshold: float,
) -> bool:
    if isinstance(source, OutputArgument):
        return isinstance(theirs, Tensor) and torch.equal(ours, theirs)
    if isinstance(source, SampleArgument):
        return _samples_agree(source, ours, theirs, threshold)
    if isinstance(source, TimeArgument):
        return _times_agree(ours, theirs)
    return _constants_agree(ours, theirs)


def _times_agree(ours: Any, theirs: Any) -> bool:
    rounding = 1e-5
    is_floating = isinstance(theirs, Tensor) and theirs.is_floating_point()
    if is_floating and theirs.dtype.itemsize < FULL_PRECISION_BYTES:
        rounding = 2 * torch.finfo(theirs.dtype).eps
    our_time = torch.as_tensor(ours).double()
    their_time = torch.as_tensor(theirs).double()
    if our_time.shape != their_time.shape:
        return False
    return torch.allclose(our_time, their_time, rtol=rounding, atol=1e-6)


def _samples_agree(
    source: SampleArgument,
    ours: Any,
    theirs: Any,
    threshold: float,
) -> bool:
    if source.listed:
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            return False
        ours = torch.stack(ours)
        theirs = torch.stack(theirs)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    our_rows = ours.flatten(1).float()
    their_rows = theirs.flatten(1).float()
    width = their_rows.shape[1] ** 0.5
    distance = torch.linalg.vector_norm(our_rows - their_rows, dim=1) / width
    size = torch.linalg.vector_norm(their_rows, dim=1)
    rounding = torch.finfo(theirs.dtype).eps * SAMPLE_ROUNDINGS * size / width
    return bool((distance <= threshold + rounding).all())


def _constants_agree(ours: Any, theirs: Any) -> bool:
    if ours is theirs:
        return True
    if isinstance(ours, Tensor):
        return isinstance(theirs, Tensor) and _tensors_equal(ours, theirs)
    if isinstance(ours, list):
        same_length = isinstance(theirs, list) and len(ours) == len(theirs)
        return same_length and all(map(_constants_agree, ours, theirs))
    return bool(ours == theirs)


def _tensors_equal(ours: Tensor, theirs: Tensor) -> bool:
    same_kind = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same_kind and torch.equal(ours, theirs)
