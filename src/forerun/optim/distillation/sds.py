"""SDS: pictures are pulled to where a diffusion model finds them likely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.noise import mix_seed
from forerun.optim.distillation.prior import Prior
from forerun.optim.distillation.timesteps import ConstantRange, TimestepSchedule, variance_weight

Weight = Callable[[Tensor, Tensor], Tensor]


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


@final
@dataclass(frozen=True)
class SDS:
    """Score distillation (DreamFusion, arXiv 2209.14988, equation 3), for all steps of a window in one call.

        gradient of the picture x:  E_{t, z} [ w(t) (z(x_t; t, prompt) - z) ],   x_t = s_t x + n_t z

    Timesteps and noise belong to the step and to `seed`: a step evaluated again meets the same.

    Args:
        prior: the diffusion model.
        guidance: classifier-free guidance; 100 in the paper, 7.5 with VSD, 1 to 2 for small models.
        timesteps: where levels of noise are drawn from.
        weight: `w`, of the rates of signal and noise.
        seed: of the noise.
    """

    prior: Prior
    guidance: float = 100.0
    timesteps: TimestepSchedule = ConstantRange()
    weight: Weight = variance_weight
    seed: int = 0

    def __call__(self, pictures: Tensor, steps: Tensor, cameras: Any = None) -> Tensor:
        """The losses of the steps, `(W,)`: only their gradients mean something.

        Args:
            pictures: `(W, V, 3, H, W)` in [0, 1]: V views a step.
            steps: int64 `(W,)`.
            cameras: of the `W * V` pictures, for the conditioning.

        Raises:
            ValueError: the shapes do not fit.
        """
        noised = add_step_noise(self.prior, pictures, steps, self.timesteps, seed=self.seed)
        with torch.no_grad():
            seen = self.prior.guided_noise(noised.noisy, noised.timesteps, cameras, guidance=self.guidance)
            pull = weighted(self.prior, self.weight, noised.timesteps, seen - noised.noise)
        return pulled(noised.clean, pull, len(steps))


def add_step_noise(
    prior: Prior, pictures: Tensor, steps: Tensor, timesteps: TimestepSchedule, *, seed: int
) -> NoisyPictures:
    """Pictures `(W, V, 3, H, W)` in the prior's space, with the noise and the timesteps of their steps.

    Raises:
        ValueError: there is not one set of pictures a step.
    """
    if pictures.dim() != 5 or len(pictures) != len(steps):
        raise ValueError(
            f"pictures of shape {list(pictures.shape)} for {len(steps)} steps: a step has V views, so the shape is "
            "(W, V, 3, H, W); write pictures[:, None] for one view a step"
        )
    clean = prior.space.encode_pictures(pictures.flatten(0, 1))
    views = pictures.shape[1]
    low, high = timesteps.bounds_at(steps)
    drawn = [_draw(seed, step, (views, *clean.shape[1:])) for step in steps.tolist()]
    shares = torch.cat([low[i] + (high[i] - low[i]) * share for i, (share, _) in enumerate(drawn)])
    noise = torch.cat([noise for _, noise in drawn]).to(clean)
    t = prior.timesteps_at(shares.to(clean.device))
    signal, rate = (each.to(clean)[:, None, None, None] for each in prior.signal_and_noise(t))
    return NoisyPictures(clean, signal * clean.detach() + rate * noise, noise, t)


def weighted(prior: Prior, weight: Weight, timesteps: Tensor, difference: Tensor) -> Tensor:
    """`w(t)` times a difference of noises; what is not finite stays so, for the loop to see."""
    return weight(*prior.signal_and_noise(timesteps)).to(difference)[:, None, None, None] * difference


def pulled(clean: Tensor, pull: Tensor, count: int) -> Tensor:
    """Losses `(count,)`, means over views: their gradient at `clean` is `pull`, their value half its square."""
    views = len(clean) // count
    losses = (0.5 * pull.square() + (clean - clean.detach()) * pull).flatten(1).sum(1)
    return losses.reshape(count, views).mean(1)


def _draw(seed: int, step: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(mix_seed(seed, step))
    # drawn on the CPU, so that a seed means the same on every device
    return torch.rand(shape[0], generator=generator), torch.randn(shape, generator=generator)
