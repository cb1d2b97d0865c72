"""SDS: pictures are pulled to where a diffusion model finds them likely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.optim.distillation.noising import add_step_noise
from forerun.optim.distillation.prior import Prior, over_pixels
from forerun.optim.distillation.timesteps import ConstantRange, TimestepSchedule, variance_weight

WeightFunction = Callable[[Tensor, Tensor], Tensor]


@final
@dataclass(frozen=True)
class SDS:
    """Score distillation (DreamFusion, arXiv 2209.14988, equation 3), for all steps of a window in one call.

        gradient of the picture x:  E_{t, z} [ w(t) (z(x_t; t, prompt) - z) ],   x_t = s_t x + n_t z

    Timesteps and noise belong to the step and to `seed`: a step evaluated again meets the same.

    Args:
        prior: the diffusion model.
        guidance: classifier-free guidance; 100 in the paper, 7.5 with VSD, 1 to 2 for small models.
        timesteps: the range that levels of noise are drawn from.
        weight: `w`, of signal and noise.
        seed: of the noise.
    """

    prior: Prior
    guidance: float = 100.0
    timesteps: TimestepSchedule = ConstantRange()
    weight: WeightFunction = variance_weight
    seed: int = 0

    def __call__(
        self,
        pictures: Tensor,
        steps: Tensor,
        cameras: Any = None,
    ) -> Tensor:
        """Return the losses of the steps, `(W,)`: only their gradients mean something.

        Args:
            pictures: `(W, V, 3, H, W)` in [0, 1]: V views a step.
            steps: int64 `(W,)`.
            cameras: of the `W * V` pictures, for the conditioning.

        Raises:
            ValueError: the shapes do not fit.
        """
        batch = add_step_noise(self.prior, pictures, steps, self.timesteps, seed=self.seed)
        with torch.no_grad():
            prior_noise = self.prior.guided_noise(
                batch.noisy,
                batch.timesteps,
                cameras,
                guidance=self.guidance,
            )
            pull = weigh_difference(self.prior, self.weight, batch.timesteps, prior_noise - batch.noise)
        return pull_losses(batch.clean, pull, len(steps))


def weigh_difference(
    prior: Prior,
    weight: WeightFunction,
    timesteps: Tensor,
    difference: Tensor,
) -> Tensor:
    """Return `w(t)` times a difference of noises; what is not finite stays so, for the loop to see."""
    weights = weight(*prior.signal_and_noise(timesteps))
    return over_pixels(weights, difference) * difference


def pull_losses(
    clean: Tensor,
    pull: Tensor,
    count: int,
) -> Tensor:
    """Return losses `(count,)`, means over views: their gradient at `clean` is `pull`, their value half its square."""
    views = len(clean) // count
    losses = 0.5 * pull.square() + (clean - clean.detach()) * pull
    return losses.flatten(1).sum(1).reshape(count, views).mean(1)
