"""From the raw outputs of the networks to what the scheduler's step receives, learnt from one step of a pipeline.

Nothing, classifier-free guidance in any order of its branches, three and more branches, outputs of which a part
(a learned variance) is dropped: all are sums of the branches with fixed weights. Rescaled guidance is such a sum
scaled to another standard deviation. What fits neither is not understood.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ENOUGH = 1 << 16  # elements that a fit looks at
FRAMES = 5  # axes of samples of video, whose guidance may grow from frame to frame
TELLING = 1e-6  # how far a ratio must be from one to tell a share from
WHOLE = 1e-2  # how far the sum of weights may be from one
ROUNDINGS = 16  # of the network's dtype, that a fit may be off


@dataclass(frozen=True)
class Weights:
    """`E = sum_j w_j r_j` over branches `r_j`, for one part of the channels of `E`.

    Attributes:
        weights: one a branch.
        channels: the part of each branch's channels that enters, as a slice.
        rescale: share of the guided sum that is scaled to the size of branch `like` (Lin et al. 2023, section 3.4);
            0 for none.
        along: whether size is the length along the last axis, rather than the standard deviation of the sample.
    """

    weights: tuple[float, ...]
    channels: slice
    rescale: float = 0.0
    like: int = 0
    along: bool = False

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """Branches `(N, C, ...)` each; accumulated in float32 at least."""
        parts = [_wide(branch[:, self.channels]) for branch in branches]
        total = torch.zeros_like(parts[0])
        for weight, part in zip(self.weights, parts, strict=True):
            if weight:
                total = torch.add(total, part, alpha=weight)
        if not self.rescale:
            return total
        size = _length if self.along else _spread
        ratio = size(parts[self.like]) / size(total)
        return total * (self.rescale * ratio + (1 - self.rescale))


@dataclass(frozen=True)
class Guidance:
    """`E` from the branches, part by part of its channels."""

    parts: tuple[Weights, ...]

    @property
    def gain(self) -> float:
        """How much differences between branches are multiplied by."""
        return max(1.0, *(sum(abs(weight) for weight in part.weights) for part in self.parts))

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """What step receives, `(N, C, ...)`, from branches `(N, C', ...)` of the samples."""
        found = [part(branches) for part in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found, 1)


@dataclass(frozen=True)
class GuiderReplay:
    """A guider object of a modular pipeline, as it was in the step that was learnt."""

    guider: Any
    names: tuple[str, ...]  # of the branches, in the order of the calls

    @property
    def gain(self) -> float:
        """How much differences between branches may be multiplied by."""
        return 1 + 2 * abs(float(getattr(self.guider, "guidance_scale", 1.0)))

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """What step receives, `(N, C, ...)`."""
        found: Tensor = copy.copy(self.guider).forward(**dict(zip(self.names, branches, strict=True))).pred
        return _wide(found)


@dataclass(frozen=True)
class Named:
    """What a pipeline says of its guidance: scales and shares of rescaling, tried before any fit; its guider."""

    scales: tuple[float, ...] = ()
    rescales: tuple[float, ...] = ()
    guider: Any = None


def learn(branches: Sequence[Tensor], received: Tensor, named: Named = Named()) -> Guidance | GuiderReplay | None:
    """The guidance that made `received` `(B, C, ...)` of the branches `(B, C', ...)`; None where none fits."""
    if any(branch.shape[0] != received.shape[0] or branch.shape[2:] != received.shape[2:] for branch in branches):
        return None
    wide, channels = {branch.shape[1] for branch in branches}, received.shape[1]
    if len(wide) != 1 or min(wide) < channels:
        return None
    whole = _part(branches, received, slice(0, channels), named)
    if whole is not None:
        return Guidance((whole,))
    if channels == min(wide) and not channels % 2:  # the variance that comes along is guided in another way
        half = channels // 2
        first = _part(branches, received[:, :half], slice(0, half), named)
        second = _part(branches, received[:, half:], slice(half, channels), named)
        if first is not None and second is not None:
            return Guidance((first, second))
    if received.dim() == FRAMES and channels == min(wide):
        each = [_part(branches, received[:, i : i + 1], slice(i, i + 1), named) for i in range(channels)]
        if all(part is not None for part in each):
            return Guidance(tuple(part for part in each if part is not None))
    return _guider(branches, received, named.guider)


def _guider(branches: Sequence[Tensor], received: Tensor, guider: Any) -> GuiderReplay | None:
    """The pipeline's own guider, where it gave what was received and keeps nothing from step to step."""
    names = tuple(getattr(guider, "_input_predictions", None) or ())
    if len(branches) != getattr(guider, "num_conditions", 0) or len(names) < len(branches):
        return None
    found = GuiderReplay(copy.copy(guider), names[: len(branches)])
    off = (found(branches) - received).abs().max()
    size = found.gain * max(float(branch.abs().max()) for branch in branches)
    return found if bool(off <= ROUNDINGS * torch.finfo(received.dtype).eps * size) else None


def _part(branches: Sequence[Tensor], received: Tensor, channels: slice, named: Named) -> Weights | None:
    for weights in _usual(len(branches), named):
        for rescale, along in ((0.0, False), *((share, False) for share in named.rescales), (1.0, True)):
            for like in range(len(branches) if rescale else 1):
                found = Weights(weights, channels, rescale, like, along)
                if _fits(found, branches, received):
                    return found
    fitted = Weights(_solved(branches, received, channels), channels)
    if abs(abs(sum(fitted.weights)) - 1) < WHOLE and _fits(fitted, branches, received):
        return fitted
    # weights that do not sum to one are of one sample alone
    rescaled = _rescaled(branches, received, channels)
    return fitted if rescaled is None and _fits(fitted, branches, received) else rescaled


def _usual(count: int, named: Named) -> list[tuple[float, ...]]:
    """Weights to try first: one branch alone, and guidance in both orders at the scales that are known."""
    alone = [tuple(float(index == only) for index in range(count)) for only in range(count)]
    if count != 2:
        return alone
    guided = [pair for scale in named.scales for pair in ((1 - scale, scale), (scale, 1 - scale))]
    plain = [*guided, *alone]
    return [*plain, *(tuple(-weight for weight in weights) for weights in plain)]


def _solved(branches: Sequence[Tensor], received: Tensor, channels: slice) -> tuple[float, ...]:
    """Weights by least squares."""
    columns = torch.stack([_sampled(branch[:, channels]) for branch in branches], 1)
    weights: list[float] = torch.linalg.lstsq(columns, _sampled(received), driver="gelsd").solution.tolist()
    close = Weights(tuple(round(weight, 3) for weight in weights), channels)
    return close.weights if _fits(close, branches, received) else tuple(weights)


def _rescaled(branches: Sequence[Tensor], received: Tensor, channels: slice) -> Weights | None:
    """Guidance whose size was changed: every sample, or every row of one, has the same weights up to a factor."""
    parts = [_wide(branch[:, channels]) for branch in branches]
    for along in (False, True):
        some = (0,) * (received.dim() - 1) if along else (slice(0, 1),)
        fitted = _solved([part[some].reshape(1, -1) for part in parts], received[some].reshape(1, -1), slice(None))
        total = sum(fitted)
        if not total:
            continue
        weights = tuple(weight / total for weight in fitted)
        guided = Weights(weights, channels)(branches)
        for like in range(len(branches)):
            ratio = float((_length if along else _spread)(parts[like])[some].flatten()[0])
            ratio /= float((_length if along else _spread)(guided)[some].flatten()[0])
            share = 1.0 if along else (total - 1) / (ratio - 1) if abs(ratio - 1) > TELLING else 0.0
            found = Weights(weights, channels, share, like, along)
            if 0 < share <= 1 + WHOLE and _fits(found, branches, received):
                return found
    return None


def _fits(weights: Weights, branches: Sequence[Tensor], received: Tensor) -> bool:
    sizes = [float(branch.abs().max()) for branch in branches]
    size = sum(abs(weight) * largest for weight, largest in zip(weights.weights, sizes, strict=True))
    precision = max(torch.finfo(received.dtype).eps, *(torch.finfo(branch.dtype).eps for branch in branches))
    return bool((weights(branches) - received).abs().max() <= ROUNDINGS * precision * max(size, 1e-12))


def _sampled(x: Tensor) -> Tensor:
    flat = x.reshape(-1)
    return flat[:: max(len(flat) // ENOUGH, 1)].double().cpu()


def _spread(x: Tensor) -> Tensor:
    return x.std(dim=list(range(1, x.dim())), keepdim=True)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
