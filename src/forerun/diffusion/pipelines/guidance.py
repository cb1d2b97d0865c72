"""From the raw outputs of the networks to what the scheduler's step receives, learnt from one step of a pipeline.

Nothing, classifier-free guidance in any order of its branches, three and more branches, outputs of which a part
(a learned variance) is dropped: all are sums of the branches with fixed weights. Rescaled guidance is such a sum
scaled to another standard deviation. What fits neither is not understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ENOUGH = 1 << 16  # elements that a fit looks at
ROUNDINGS = 16  # of the network's dtype, that a fit may be off


@dataclass(frozen=True)
class Weights:
    """`E = sum_j w_j r_j` over branches `r_j`, for one part of the channels of `E`.

    Attributes:
        weights: one a branch.
        channels: the part of each branch's channels that enters, as a slice.
        rescale: share of the guided sum that is scaled to the standard deviation of branch `like` (Lin et al. 2023,
            section 3.4); 0 for none.
    """

    weights: tuple[float, ...]
    channels: slice
    rescale: float = 0.0
    like: int = 0

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """Branches `(N, C, ...)` each; accumulated in float32 at least."""
        parts = [_wide(branch[:, self.channels]) for branch in branches]
        total = torch.zeros_like(parts[0])
        for weight, part in zip(self.weights, parts, strict=True):
            if weight:
                total = torch.add(total, part, alpha=weight)
        if not self.rescale:
            return total
        ratio = _spread(parts[self.like]) / _spread(total)
        return total * (self.rescale * ratio + (1 - self.rescale))


@dataclass(frozen=True)
class Guidance:
    """`E` from the branches, part by part of its channels."""

    parts: tuple[Weights, ...]

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """What step receives, `(N, C, ...)`, from branches `(N, C', ...)` of the samples."""
        found = [part(branches) for part in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found, 1)


def learn(branches: Sequence[Tensor], received: Tensor, scales: Sequence[float] = ()) -> Guidance | None:
    """The guidance that made `received` `(B, C, ...)` of the branches `(B, C', ...)`; None where none fits.

    Args:
        scales: guidance scales that the pipeline says it uses, tried before any fit.
    """
    if any(branch.shape[0] != received.shape[0] or branch.shape[2:] != received.shape[2:] for branch in branches):
        return None
    wide, channels = {branch.shape[1] for branch in branches}, received.shape[1]
    if len(wide) != 1 or min(wide) < channels:
        return None
    whole = _part(branches, received, slice(0, channels), scales)
    if whole is not None:
        return Guidance((whole,))
    if channels == min(wide) and not channels % 2:  # the variance that comes along is guided in another way
        half = channels // 2
        first = _part(branches, received[:, :half], slice(0, half), scales)
        second = _part(branches, received[:, half:], slice(half, channels), scales)
        if first is not None and second is not None:
            return Guidance((first, second))
    return None


def _part(
    branches: Sequence[Tensor], received: Tensor, channels: slice, scales: Sequence[float]
) -> Weights | None:
    for weights in _usual(len(branches), scales):
        found = Weights(weights, channels)
        if _fits(found, branches, received):
            return found
    fitted = Weights(_solved(branches, received, channels), channels)
    if _fits(fitted, branches, received):
        return fitted
    return _rescaled(branches, received, channels)


def _usual(count: int, scales: Sequence[float]) -> list[tuple[float, ...]]:
    """Weights to try first: one branch alone, and guidance in both orders at the scales that are known."""
    alone = [tuple(float(index == only) for index in range(count)) for only in range(count)]
    if count != 2:
        return alone
    guided = [pair for scale in scales for pair in ((1 - scale, scale), (scale, 1 - scale))]
    return [*alone, *guided] if not scales else [*guided, *alone]


def _solved(branches: Sequence[Tensor], received: Tensor, channels: slice) -> tuple[float, ...]:
    """Weights by least squares."""
    columns = torch.stack([_sampled(branch[:, channels]) for branch in branches], 1)
    weights: list[float] = torch.linalg.lstsq(columns, _sampled(received), driver="gelsd").solution.tolist()
    snapped = [round(weight, 4) if abs(weight - round(weight, 4)) < 2e-3 * max(abs(weight), 1) else weight for weight in weights]
    close = Weights(tuple(snapped), channels)
    return close.weights if _fits(close, branches, received) else tuple(weights)


def _rescaled(branches: Sequence[Tensor], received: Tensor, channels: slice) -> Weights | None:
    """Guidance whose standard deviation was rescaled: every sample has the same weights, up to a factor."""
    parts = [_wide(branch[:, channels]) for branch in branches]
    rows = [_solved([part[:1] for part in parts], received[:1].float(), slice(None))]
    total = sum(rows[0])
    if not total:
        return None
    weights = tuple(weight / total for weight in rows[0])
    guided = Weights(weights, channels)(branches)
    for like in range(len(branches)):
        ratio = float((_spread(parts[like]) / _spread(guided)).flatten()[0])
        if abs(ratio - 1) < 1e-6:
            continue
        found = Weights(weights, channels, rescale=(total - 1) / (ratio - 1), like=like)
        if 0 < found.rescale <= 1.001 and _fits(found, branches, received):
            return found
    return None


def _fits(weights: Weights, branches: Sequence[Tensor], received: Tensor) -> bool:
    size = sum(abs(weight) * float(branch.abs().max()) for weight, branch in zip(weights.weights, branches, strict=True))
    precision = max(torch.finfo(received.dtype).eps, *(torch.finfo(branch.dtype).eps for branch in branches))
    return bool((weights(branches) - received).abs().max() <= ROUNDINGS * precision * max(size, 1e-12))


def _sampled(x: Tensor) -> Tensor:
    flat = x.reshape(-1)
    return flat[:: max(len(flat) // ENOUGH, 1)].double().cpu()


def _spread(x: Tensor) -> Tensor:
    return x.std(dim=list(range(1, x.dim())), keepdim=True)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
