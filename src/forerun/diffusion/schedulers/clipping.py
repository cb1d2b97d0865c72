"""A scheduler that clips the denoised sample, in closed form all the same.

`clip_sample=True` is what most policies are trained with. The step is linear but for the denoised sample `D`,
which is clamped where it stands:

    x' = A x + B D + G (clamp(D) - D)

with `G = B` where all of the step follows the clamped sample (DDPM), and another number where the noise is still
taken from the prediction (DDIM, unless `use_clipped_model_output`). So `O = D + G / B (clamp(D) - D)`, a function of
the input alone, is an output with which the step is linear again. `G` is read off by stepping the unmodified
scheduler, beside a copy that does not clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.linear import (
    NONLINEARITY_BOUND,
    StepMatrices,
    probe_matrices,
)
from forerun.diffusion.schedulers.prediction import PredictionSplit
from forerun.diffusion.schedulers.quirks import CLIP_BOUND, unclipped_copy
from forerun.diffusion.schedulers.replay import SchedulerReplay
from forerun.diffusion.step_values import select_steps

PROBED_RANGE: Final = 3.0  # times the bound, up to which denoised samples are probed
PROBE_SHAPE: Final = (1, 16, 1, 1)


@dataclass(frozen=True)
class SampleClipping:
    """`O = share_i clamp(D, -bound, bound) + p_i x + q_i E`, with `E` what the network predicts.

    The last two terms are `(1 - share) D`, not taken from `D`: it is large, and loses digits, where there is little
    signal.

    Attributes:
        bound: largest denoised sample.
        share: `G / B` of each step, float64 `(length,)`.
        p: float64 `(length,)`.
        q: float64 `(length,)`.
    """

    bound: float
    share: Tensor
    p: Tensor
    q: Tensor

    @classmethod
    def from_shares(
        cls,
        bound: float,
        share: Tensor,
        splits: Sequence[PredictionSplit],
    ) -> SampleClipping:
        """Return the clipping with the shares of all steps, whose denoised samples are split like this."""
        p = torch.tensor([split.p for split in splits], dtype=torch.float64)
        q = torch.tensor([split.q for split in splits], dtype=torch.float64)
        return cls(bound, share, (1 - share) * p, (1 - share) * q)

    @cached_property
    def replaces_output(self) -> bool:
        """Whether the output is the clamped sample itself, at every step."""
        return bool((self.share == 1).all())

    def __call__(
        self,
        steps: Tensor,
        inputs: Tensor,
        predicted: Tensor,
        denoised: Tensor,
    ) -> Tensor:
        """Return outputs `(W, B, *shape)`, from samples, what was predicted for them, and the denoised ones."""
        clamped = denoised.clamp(-self.bound, self.bound)
        if self.replaces_output:
            return clamped
        share = select_steps(self.share, steps, inputs)
        p = select_steps(self.p, steps, inputs)
        q = select_steps(self.q, steps, inputs)
        return torch.addcmul(share * clamped + p * inputs, q, predicted)


def probe_clipping(
    scheduler: Any,
    replay: SchedulerReplay,
    splits: Sequence[PredictionSplit],
    sample: Tensor,
) -> tuple[StepMatrices, SampleClipping] | None:
    """Return the matrices of a copy that does not clip, and the clipping of the original.

    None where the scheduler does not clip, does more, or where both differ by more than clamping.
    """
    unclipped = unclipped_copy(scheduler)
    if unclipped is None:
        return None
    plain = SchedulerReplay(unclipped, sample, replay.timesteps, step_options=replay.step_options)
    matrices = probe_matrices(plain, splits)
    if matrices is None or matrices.width > 1:
        return None
    bound = float(CLIP_BOUND.read(scheduler))
    gains: list[float] = []
    for index, split in enumerate(splits):
        gain = _probe_gain((replay, plain), split, index, bound)
        if gain is None:
            return None
        gains.append(gain)
    share = torch.tensor(gains, dtype=torch.float64) / matrices.output[:, 0]
    share = torch.where((share - 1).abs() < NONLINEARITY_BOUND, 1.0, share)
    return matrices, SampleClipping.from_shares(bound, share, splits)


def _probe_gain(
    replays: tuple[SchedulerReplay, SchedulerReplay],
    split: PredictionSplit,
    index: int,
    bound: float,
) -> float | None:
    """Return `G` of one step; None where the difference of both schedulers is not `G (clamp(D) - D)`."""
    generator = torch.Generator().manual_seed(index)
    reach = PROBED_RANGE * bound
    denoised = 2 * reach * torch.rand(PROBE_SHAPE, generator=generator, dtype=torch.float64) - reach
    sample = torch.randn(PROBE_SHAPE, generator=generator, dtype=torch.float64)
    predicted = (denoised - split.p * sample) / split.q
    clipping, plain = replays
    clipped = _step_without_history(clipping, index, predicted, sample)
    unclipped = _step_without_history(plain, index, predicted, sample)
    excess = denoised.clamp(-bound, bound) - denoised
    difference = clipped - unclipped
    gain = float((difference * excess).sum() / (excess * excess).sum())
    error = float((difference - gain * excess).abs().max())
    size = max(float(unclipped.abs().max()), bound)
    return gain if error <= NONLINEARITY_BOUND * size else None


def _step_without_history(
    replay: SchedulerReplay,
    index: int,
    predicted: Tensor,
    sample: Tensor,
) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    next_sample, _ = replay.raw_step(
        index,
        predicted,
        sample,
        history=[],
        generator=generator,
    )
    return next_sample
