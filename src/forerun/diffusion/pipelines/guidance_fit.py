"""The fit of the guidance: which sum of the branches, or which guider, made what the scheduler's step received."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.pipelines.calls import widen
from forerun.diffusion.pipelines.guidance import (
    BranchSum,
    BranchWeights,
    GuidanceHints,
    GuidanceRule,
    GuiderReplay,
)

FITTED_ELEMENTS = 1 << 16  # that a fit looks at
VIDEO_AXES = 5  # of samples of video, whose guidance may grow from frame to frame
LEAST_RATIO = 1e-6  # how far a ratio must be from one to read a share off
SUM_MARGIN = 1e-2  # how far the sum of weights may be from one
FIT_ROUNDINGS = 16  # of the network's dtype, that a fit may be off


def fit_guidance(
    branches: Sequence[Tensor],
    received: Tensor,
    hints: GuidanceHints = GuidanceHints(),
) -> GuidanceRule | None:
    """Return the guidance that made `received` `(B, C, ...)` of the branches `(B, C', ...)`; None where none fits."""
    if not _shapes_agree(branches, received):
        return None
    width = branches[0].shape[1]
    for groups in _channel_groups(width, received):
        weights: list[BranchWeights] = []
        for channels in groups:
            fitted = _fit_channels(branches, received[:, channels], channels, hints)
            if fitted is None:
                break
            weights.append(fitted)
        if len(weights) == len(groups):
            return BranchSum(tuple(weights))
    return _fit_guider(branches, received, hints.guider)


def _shapes_agree(branches: Sequence[Tensor], received: Tensor) -> bool:
    shape = branches[0].shape
    if any(branch.shape != shape for branch in branches):
        return False
    rows, channels, *elements = received.shape
    same_elements = list(shape[2:]) == elements
    return shape[0] == rows and same_elements and shape[1] >= channels


def _channel_groups(width: int, received: Tensor) -> Iterator[list[slice]]:
    """Yield the groups of channels that may have weights of their own, for branches of `width` channels."""
    channels = received.shape[1]
    yield [slice(0, channels)]
    if channels != width:
        return
    if not channels % 2:  # the variance that comes along is guided in another way
        half = channels // 2
        yield [slice(0, half), slice(half, channels)]
    if received.dim() == VIDEO_AXES:
        yield [slice(index, index + 1) for index in range(channels)]


def _fit_guider(
    branches: Sequence[Tensor],
    received: Tensor,
    guider: Any,
) -> GuiderReplay | None:
    """Return the pipeline's own guider, where it gave what was received and keeps nothing from step to step."""
    names = tuple(getattr(guider, "_input_predictions", None) or ())
    count = len(branches)
    if count != getattr(guider, "num_conditions", 0) or len(names) < count:
        return None
    replay = GuiderReplay(copy.copy(guider), names[:count])
    error = (replay(branches) - received).abs().max()
    largest = max(float(branch.abs().max()) for branch in branches)
    rounding = FIT_ROUNDINGS * torch.finfo(received.dtype).eps
    threshold = rounding * replay.gain * largest
    return replay if bool(error <= threshold) else None


def _fit_channels(
    branches: Sequence[Tensor],
    received: Tensor,
    channels: slice,
    hints: GuidanceHints,
) -> BranchWeights | None:
    """Return the weights of some channels: usual ones, else by least squares, else rescaled."""
    for candidate in _usual_candidates(len(branches), channels, hints):
        if _fits(candidate, branches, received):
            return candidate
    weights = _solve_weights(branches, received, channels)
    fitted = BranchWeights(weights, channels)
    fits = _fits(fitted, branches, received)
    total = abs(sum(fitted.weights))
    if fits and abs(total - 1) < SUM_MARGIN:
        return fitted
    # weights that do not sum to one are of one sample alone
    rescaled = _fit_rescaled(branches, received, channels)
    if rescaled is None and fits:
        return fitted
    return rescaled


def _usual_candidates(
    count: int,
    channels: slice,
    hints: GuidanceHints,
) -> Iterator[BranchWeights]:
    """Yield usual weights of `count` branches: plain, rescaled by the shares that are known, and row by row."""
    rescaling = [(share, False) for share in hints.rescales]
    rescaling.append((1.0, True))
    for weights in _usual_weights(count, hints):
        yield BranchWeights(weights, channels)
        for share, along in rescaling:
            for like in range(count):
                yield BranchWeights(weights, channels, share, like, along)


def _usual_weights(count: int, hints: GuidanceHints) -> list[tuple[float, ...]]:
    """Return weights to try first: one branch alone, and guidance in both orders at the scales that are known."""
    alone: list[tuple[float, ...]] = []
    for only in range(count):
        alone.append(tuple(float(index == only) for index in range(count)))
    if count != 2:
        return alone
    weights: list[tuple[float, ...]] = []
    for scale in hints.scales:
        weights.append((1 - scale, scale))
        weights.append((scale, 1 - scale))
    weights += alone
    negated = [tuple(-weight for weight in pair) for pair in weights]
    return weights + negated


def _solve_weights(
    branches: Sequence[Tensor],
    received: Tensor,
    channels: slice,
) -> tuple[float, ...]:
    """Return weights by least squares, rounded where that fits as well."""
    columns = [_sample_elements(branch[:, channels]) for branch in branches]
    fit = torch.linalg.lstsq(
        torch.stack(columns, 1),
        _sample_elements(received),
        driver="gelsd",
    )
    weights: list[float] = fit.solution.tolist()
    rounded = tuple(round(weight, 3) for weight in weights)
    if _fits(BranchWeights(rounded, channels), branches, received):
        return rounded
    return tuple(weights)


def _fit_rescaled(
    branches: Sequence[Tensor],
    received: Tensor,
    channels: slice,
) -> BranchWeights | None:
    """Return guidance whose size was changed: every sample, or every row of one, has its weights up to a factor."""
    for along in (False, True):
        for candidate in _rescaled_candidates(branches, received, channels, along=along):
            if _fits(candidate, branches, received):
                return candidate
    return None


def _rescaled_candidates(
    branches: Sequence[Tensor],
    received: Tensor,
    channels: slice,
    *,
    along: bool,
) -> Iterator[BranchWeights]:
    """Yield what the first sample, or its first row, says of weights and rescaling."""
    first: Any = (slice(0, 1),)
    if along:
        first = (0,) * (received.dim() - 1)
    inputs = [widen(branch[:, channels]) for branch in branches]
    first_inputs = [branch[first].reshape(1, -1) for branch in inputs]
    first_received = received[first].reshape(1, -1)
    fitted = _solve_weights(first_inputs, first_received, slice(None))
    total = sum(fitted)
    if not total:
        return
    weights = tuple(weight / total for weight in fitted)
    plain = BranchWeights(weights, channels, along=along)
    guided = plain(branches)
    guided_size = float(plain.size(guided)[first].flatten()[0])
    for like, branch in enumerate(inputs):
        ratio = float(plain.size(branch)[first].flatten()[0]) / guided_size
        share = 1.0 if along else _rescaled_share(total, ratio)
        if 0 < share <= 1 + SUM_MARGIN:
            yield BranchWeights(weights, channels, share, like, along)


def _rescaled_share(total: float, ratio: float) -> float:
    """Return the share of rescaling that makes weights sum to `total`, for a branch of `ratio` times the size."""
    if abs(ratio - 1) <= LEAST_RATIO:
        return 0.0
    return (total - 1) / (ratio - 1)


def _fits(weights: BranchWeights, branches: Sequence[Tensor], received: Tensor) -> bool:
    size = 0.0
    precision = torch.finfo(received.dtype).eps
    for weight, branch in zip(weights.weights, branches, strict=True):
        size += abs(weight) * float(branch.abs().max())
        precision = max(precision, torch.finfo(branch.dtype).eps)
    threshold = FIT_ROUNDINGS * precision * max(size, 1e-12)
    error = (weights(branches) - received).abs().max()
    return bool(error <= threshold)


def _sample_elements(x: Tensor) -> Tensor:
    flat = x.reshape(-1)
    stride = max(len(flat) // FITTED_ELEMENTS, 1)
    return flat[::stride].double().cpu()
