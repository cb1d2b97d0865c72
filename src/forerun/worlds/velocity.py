"""The loss that both diffusion models of pictures are trained with: the velocity at stratified timesteps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

VelocityModel = Callable[[Tensor, Tensor], Tensor]  # (noisy samples, timesteps) -> velocities
LARGEST_RATIO = 5.0  # signal-to-noise ratio from which on a step's weight falls


def velocity_loss(predict: VelocityModel, clean: Tensor, schedule: Any) -> Tensor:
    """Return the weighted square error of the velocity (Salimans and Ho 2022).

        v = sqrt(abar) eps - sqrt(1 - abar) x0,    weight = 5 / (5 + snr)

    The weight keeps the nearly clean steps, where the noise cannot be seen, from outweighing the others (as in Hang
    et al. 2023).

    Args:
        predict: the model.
        clean: samples `(N, C, H, W)`.
        schedule: a scheduler of diffusers.
    """
    t = stratified_timesteps(len(clean), len(schedule.alphas_cumprod))
    noise = torch.randn_like(clean)
    noisy = schedule.add_noise(clean, noise, t)
    error = predict(noisy, t) - schedule.get_velocity(clean, noise, t)
    abar = schedule.alphas_cumprod[t]
    weight = LARGEST_RATIO / (LARGEST_RATIO + abar / (1 - abar))
    loss: Tensor = (weight * error.square().mean((1, 2, 3))).mean()
    return loss


def stratified_timesteps(count: int, length: int) -> Tensor:
    """Return random timesteps below `length`, int64 `(count,)`: one from each of `count` equal stretches."""
    stretches = torch.arange(count) + torch.rand(count)
    return (stretches * length / count).long()
