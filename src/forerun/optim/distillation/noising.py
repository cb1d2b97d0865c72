"""Noise that belongs to the step: pictures of several steps, with the noise and the timesteps of their steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.noise import mix_seed
from forerun.optim.distillation.prior import Prior, over_pixels
from forerun.optim.distillation.timesteps import TimestepSchedule


@final
@dataclass(frozen=True)
class NoisyPictures:
    """Pictures of several steps in a prior's space, with the noise that belongs to the steps.

    Attributes:
        clean: `(N, C, h, w)`, rows by step and view; has the gradient.
        noisy: the same with noise, without gradient.
        noise: `(N, C, h, w)`.
        timesteps: `(N,)`.
    """

    clean: Tensor
    noisy: Tensor
    noise: Tensor
    timesteps: Tensor


def add_step_noise(
    prior: Prior,
    pictures: Tensor,
    steps: Tensor,
    timesteps: TimestepSchedule,
    *,
    seed: int,
) -> NoisyPictures:
    """Return pictures `(W, V, 3, H, W)` in the prior's space, with the noise and the timesteps of their steps.

    Raises:
        ValueError: there is not one set of pictures a step.
    """
    if pictures.dim() != 5 or len(pictures) != len(steps):
        raise ValueError(
            f"pictures of shape {list(pictures.shape)} for {len(steps)} steps: a step has V views, so the shape is "
            "(W, V, 3, H, W); write pictures[:, None] for one view a step"
        )
    clean = prior.space.encode_pictures(pictures.flatten(0, 1))
    step_shape = (pictures.shape[1], *clean.shape[1:])
    low, high = timesteps.bounds_at(steps)
    shares = []
    noises = []
    for index, step in enumerate(steps.tolist()):
        heights, step_noise = _draw_noise(seed, step, step_shape)
        shares.append(low[index] + (high[index] - low[index]) * heights)
        noises.append(step_noise)
    noise = torch.cat(noises).to(clean)
    picture_timesteps = prior.timesteps_at(torch.cat(shares).to(clean.device))
    signal, rate = (over_pixels(values, clean) for values in prior.signal_and_noise(picture_timesteps))
    return NoisyPictures(
        clean=clean,
        noisy=signal * clean.detach() + rate * noise,
        noise=noise,
        timesteps=picture_timesteps,
    )


def _draw_noise(seed: int, step: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the places of a step's views in the range of timesteps, and their noise."""
    generator = torch.Generator().manual_seed(mix_seed(seed, step))
    # drawn on the CPU, so that a seed means the same on every device
    heights = torch.rand(shape[0], generator=generator)
    return heights, torch.randn(shape, generator=generator)
