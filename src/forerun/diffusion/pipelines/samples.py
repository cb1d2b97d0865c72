"""Where the samples stand in what a network got: found by shapes, layouts and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import SampleArgument, StepBatch
from forerun.diffusion.pipelines.layout import AxisLayout, candidate_layouts
from forerun.diffusion.step_values import repeat_rows

ARGUMENT_ROUNDINGS = 8
LEAST_SHARE_FROM_SAMPLE = 0.3  # of a network's input that must come from the sample


def find_sample(
    observed: Any,
    sample: Tensor,
    scales: Tensor,
    batch: StepBatch,
) -> SampleArgument | None:
    """Return how an argument comes from the samples `(B, *shape)`; None where it does not.

    Args:
        observed: the argument.
        sample: that the scheduler's step received.
        scales: of the scheduler, one a step; also tried without.
        batch: the step as a batch of one, to build the argument again.
    """
    rows = _stack_rows(observed)
    if rows is None:
        return None
    for scale in _candidate_scales(scales):
        for layout in candidate_layouts(sample, rows):
            source = _place_sample(rows, sample, scale, layout)
            if source is not None and _rebuilds(source, rows, batch):
                return replace(source, listed=isinstance(observed, list))
    return None


def _stack_rows(observed: Any) -> Tensor | None:
    """Return an argument as one tensor with a batch axis; None where it cannot be samples."""
    rows = observed
    if isinstance(observed, list):
        if not observed or not _are_alike(observed):
            return None
        rows = torch.stack(observed)
    if not isinstance(rows, Tensor) or not rows.is_floating_point() or rows.dim() < 2:
        return None
    return rows


def _are_alike(entries: Sequence[Any]) -> bool:
    first = entries[0]
    return all(isinstance(entry, Tensor) and entry.shape == first.shape for entry in entries)


def _candidate_scales(scales: Tensor) -> list[Tensor]:
    ones = torch.ones_like(scales)
    is_scaled = bool((scales != 1).any())
    return [scales, ones] if is_scaled else [ones]


def _place_sample(
    observed: Tensor,
    sample: Tensor,
    scales: Tensor,
    layout: AxisLayout,
) -> SampleArgument | None:
    """Return where the samples would stand in an argument, by shapes and, within a longer axis, by values."""
    scaled = sample * scales[0].to(sample)
    laid_out = layout.to_network(scaled)
    if laid_out.dim() != observed.dim():
        return None
    copies, remainder = divmod(len(observed), len(laid_out))
    if remainder:
        return None
    source = SampleArgument(layout, copies, scales, observed)
    axes = range(1, observed.dim())
    longer_axes = [axis for axis in axes if observed.shape[axis] != laid_out.shape[axis]]
    if len(longer_axes) > 1:
        return None
    rows = repeat_rows(laid_out, copies)
    if not longer_axes:
        return _mask_elements(source, rows)
    return _slice_axis(source, rows, longer_axes[0])


def _mask_elements(source: SampleArgument, rows: Tensor) -> SampleArgument:
    """Return the source with the mask of the elements that are the samples', unless they all or hardly any are."""
    mask = _is_close(rows, source.observed)
    share = float(mask.double().mean())
    if bool(mask.all()) or share < LEAST_SHARE_FROM_SAMPLE:
        return source
    return replace(source, mask=mask)


def _slice_axis(source: SampleArgument, rows: Tensor, axis: int) -> SampleArgument | None:
    """Return the source with the samples at the beginning or the end of an axis; None where at neither."""
    size = rows.shape[axis]
    space = source.observed.shape[axis] - size
    if space < 0:
        return None
    for offset in (0, space):
        segment = source.observed.narrow(axis, offset, size)
        if bool(_is_close(rows, segment).all()):
            return replace(source, axis=axis, offset=offset)
    return None


def _rebuilds(source: SampleArgument, observed: Tensor, batch: StepBatch) -> bool:
    rebuilt = source.build(batch)
    if rebuilt.shape != observed.shape:
        return False
    return bool(_is_close(rebuilt, observed).all())


def _is_close(rebuilt: Tensor, observed: Tensor) -> Tensor:
    rounding = torch.finfo(observed.dtype).eps * ARGUMENT_ROUNDINGS
    difference = (rebuilt.to(observed.dtype) - observed).abs()
    return difference <= rounding * observed.abs().clamp_min(1e-3)
