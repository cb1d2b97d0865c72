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

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.history import SchedulerReplay, take
from forerun.diffusion.schedulers.linear import WRONG, StepMatrices, probe
from forerun.diffusion.schedulers.prediction import Split

REACH: Final = 3.0  # times the bound, from which the clamped sample is probed


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
    def of(cls, bound: float, share: Tensor, splits: Sequence[Split]) -> SampleClipping:
        """The clipping with the shares of all steps, whose denoised samples are split like this."""
        p, q = (torch.tensor(each, dtype=torch.float64) for each in zip(*((s.p, s.q) for s in splits), strict=True))
        return cls(bound, share, (1 - share) * p, (1 - share) * q)

    @cached_property
    def whole(self) -> bool:
        """Whether the output is the clamped sample itself, at every step."""
        return bool((self.share == 1).all())

    def __call__(self, steps: Tensor, inputs: Tensor, predicted: Tensor, denoised: Tensor) -> Tensor:
        """Outputs `(W, B, *shape)`, from samples, what was predicted for them, and the denoised ones."""
        clamped = denoised.clamp(-self.bound, self.bound)
        if self.whole:
            return clamped
        share, p, q = (column(each, steps, inputs) for each in (self.share, self.p, self.q))
        return torch.addcmul(share * clamped + p * inputs, q, predicted)


def column(values: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    """`values[steps]`, shaped `(W, 1, ...)` to multiply `like`, in its dtype."""
    return values.to(like.device)[steps].to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def unclipped(scheduler: Any, script: SchedulerReplay, sample: Tensor) -> SchedulerReplay | None:
    """The same steps by a copy of the scheduler that does not clip; None where it does not clip, or does more."""
    config = scheduler.config
    if not config.get("clip_sample", False) or config.get("thresholding", False):
        return None
    other = copy.deepcopy(scheduler)
    other.register_to_config(clip_sample=False)
    return SchedulerReplay(other, sample, script.timesteps, step_options=script.step_options)


def probe_clipped(
    script: SchedulerReplay, plain: SchedulerReplay, splits: Sequence[Split]
) -> tuple[StepMatrices, SampleClipping] | None:
    """The matrices of the copy, and the clipping of the original; None where they differ by more than clamping."""
    matrices = probe(plain, splits)
    if matrices is None or matrices.width > 1:
        return None
    bound = float(script.skeletons[0].attributes["_internal_dict"].get("clip_sample_range", 1.0))
    gains = [_gain((script, plain), split, index, bound) for index, split in enumerate(splits)]
    found = [gain for gain in gains if gain is not None]
    if len(found) < len(gains):
        return None
    share = torch.tensor(found, dtype=torch.float64) / matrices.output[:, 0]
    return matrices, SampleClipping.of(bound, torch.where((share - 1).abs() < WRONG, 1.0, share), splits)


def _gain(scripts: Sequence[SchedulerReplay], split: Split, index: int, bound: float) -> float | None:
    """`G` of one step; None where the difference of both schedulers is not `G (clamp(D) - D)`."""
    generator = torch.Generator().manual_seed(index)
    denoised = 2 * REACH * bound * torch.rand(1, 16, 1, 1, generator=generator, dtype=torch.float64) - REACH * bound
    sample = torch.randn(1, 16, 1, 1, generator=generator, dtype=torch.float64)
    predicted = (denoised - split.p * sample) / split.q
    clipped, free = (_step(each, index, predicted, sample) for each in scripts)
    beyond = denoised.clamp(-bound, bound) - denoised
    difference = clipped - free
    gain = float((difference * beyond).sum() / (beyond * beyond).sum())
    error = float((difference - gain * beyond).abs().max())
    return gain if error <= WRONG * max(float(free.abs().max()), bound) else None


def _step(script: SchedulerReplay, index: int, predicted: Tensor, sample: Tensor) -> Tensor:
    scheduler = script.skeletons[index].fill([])
    options = script.arguments(index, torch.Generator().manual_seed(0))
    return take(scheduler, predicted, script.timesteps[index], sample, options=options)
