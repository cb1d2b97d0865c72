"""TracedStep: one step of a pipeline's loop, with all that is needed to repeat it and those after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.blend import MaskBlend
from forerun.diffusion.pipelines.calls import NetworkCall, NotUnderstood
from forerun.diffusion.pipelines.guidance import GuidanceHints

LEAST_TOLERANCE = 1e-3
TOLERANCE_ROUNDINGS = 4  # at least so many
SMALLEST_TENSOR_SIZE = 1e-6
MODEL_CHANNELS = {
    1,
    2,
}  # over those of the sample; 2 where a variance comes with it


@final
@dataclass(frozen=True)
class TracedStep:
    """A step as the pipeline took it.

    Attributes:
        calls: of its networks.
        scheduler: as it was before the step.
        sample: that the step received, `(B, *shape)`.
        received: model output that it received.
        next_sample: the sample that it returned.
        timesteps: from this step's on, of the whole loop.
        options: further arguments of the step.
        generator: as it was before the step.
        hints: what the pipeline says of its guidance.
        blend: what it does to the samples between two steps.
    """

    calls: Sequence[NetworkCall]
    scheduler: Any
    sample: Tensor
    received: Tensor
    next_sample: Tensor
    timesteps: Sequence[Any]
    options: Mapping[str, Any]
    generator: Any
    hints: GuidanceHints
    blend: MaskBlend | None = None

    @property
    def channels(self) -> int:
        """Channels of the model output over those of the sample.

        Raises:
            NotUnderstood: the shapes do not go together.
        """
        channels, remainder = divmod(self.received.shape[1], self.sample.shape[1])
        same_rows = self.received.shape[0] == self.sample.shape[0]
        if remainder or not same_rows or channels not in MODEL_CHANNELS:
            raise NotUnderstood(
                f"the scheduler's step received a model output of shape {list(self.received.shape)} for samples of "
                f"shape {list(self.sample.shape)}"
            )
        return channels

    @property
    def tolerance(self) -> float:
        """A tolerance that the samples' dtype can keep, in units of their standard deviation."""
        return max(
            LEAST_TOLERANCE,
            TOLERANCE_ROUNDINGS * torch.finfo(self.sample.dtype).eps,
        )

    def rounding(self, *others: Tensor) -> float:
        """Return the coarsest rounding of the step's tensors and of some others."""
        tensors = (self.sample, self.received, *others)
        return max(torch.finfo(tensor.dtype).eps for tensor in tensors)


def largest_element(*tensors: Tensor) -> float:
    """Return the largest element of some tensors by size, and no less than a little more than zero."""
    return max(SMALLEST_TENSOR_SIZE, *(float(tensor.abs().max()) for tensor in tensors))


def are_near(ours: Tensor, theirs: Tensor, threshold: float) -> bool:
    """Return whether two tensors have one shape, and no element farther apart than a threshold."""
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= threshold)
