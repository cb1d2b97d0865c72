"""Guidance: from the raw outputs of the networks to what the scheduler's step receives.

Nothing, classifier-free guidance in any order of its branches, three and more branches, outputs of which some
channels (a learned variance) are dropped: all are sums of the branches with fixed weights. Rescaled guidance is such
a sum scaled to another standard deviation. A guider of a modular pipeline is called itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.calls import widen


@final
@dataclass(frozen=True)
class BranchWeights:
    """`E = sum_j w_j r_j` over branches `r_j`, for some channels of `E`.

    Attributes:
        weights: one a branch.
        channels: the slice of each branch's channels that enters.
        rescale: share of the guided sum that is scaled to the size of branch `like` (Lin et al. 2023, section 3.4);
            0 for none.
        like: the branch whose size it gets.
        along: whether size is the length along the last axis, rather than the standard deviation of the sample.
    """

    weights: tuple[float, ...]
    channels: slice
    rescale: float = 0.0
    like: int = 0
    along: bool = False

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """Return the sum over branches `(N, C, ...)` each; accumulated in float32 at least."""
        inputs = [widen(branch[:, self.channels]) for branch in branches]
        total = torch.zeros_like(inputs[0])
        for weight, branch in zip(self.weights, inputs, strict=True):
            if weight:
                total = torch.add(total, branch, alpha=weight)
        if not self.rescale:
            return total
        ratio = self.size(inputs[self.like]) / self.size(total)
        return total * (self.rescale * ratio + (1 - self.rescale))

    def size(self, x: Tensor) -> Tensor:
        """Return the size of every sample or row that rescaling compares, with the axes of `x`."""
        if not self.along:
            return x.std(dim=list(range(1, x.dim())), keepdim=True)
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return length


@final
@dataclass(frozen=True)
class BranchSum:
    """`E` from the branches, one group of its channels after the other."""

    groups: tuple[BranchWeights, ...]

    @property
    def gain(self) -> float:
        """How much differences between branches are multiplied by."""
        sums = [sum(abs(weight) for weight in group.weights) for group in self.groups]
        return max(1.0, *sums)

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """Return what step receives, `(N, C, ...)`, from branches `(N, C', ...)` of the samples."""
        channels = [group(branches) for group in self.groups]
        return channels[0] if len(channels) == 1 else torch.cat(channels, 1)


@final
@dataclass(frozen=True)
class GuiderReplay:
    """A guider object of a modular pipeline, as it was in the step that was traced."""

    guider: Any
    names: tuple[str, ...]  # of the branches, in the order of the calls

    @property
    def gain(self) -> float:
        """How much differences between branches may be multiplied by."""
        scale = float(getattr(self.guider, "guidance_scale", 1.0))
        return 1 + 2 * abs(scale)

    def __call__(self, branches: Sequence[Tensor]) -> Tensor:
        """Return what step receives, `(N, C, ...)`."""
        by_name = dict(zip(self.names, branches, strict=True))
        guided: Tensor = copy.copy(self.guider).forward(**by_name).pred
        return widen(guided)


@dataclass(frozen=True)
class GuidanceHints:
    """What a pipeline says of its guidance: scales and shares of rescaling, tried before any fit; its guider."""

    scales: tuple[float, ...] = ()
    rescales: tuple[float, ...] = ()
    guider: Any = None


GuidanceRule = BranchSum | GuiderReplay
