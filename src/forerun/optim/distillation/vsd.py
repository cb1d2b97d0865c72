"""VSD: score distillation against a model of the pictures themselves, which learns on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.optim.distillation.distilled_model import DistilledModel, NamedWeights
from forerun.optim.distillation.noising import add_step_noise
from forerun.optim.distillation.prior import Prior
from forerun.optim.distillation.sds import WeightFunction, pull_losses, weigh_difference
from forerun.optim.distillation.timesteps import ConstantRange, TimestepSchedule, variance_weight

FIT_SEED_OFFSET = 1 << 32  # added to the seed for the noise of the distilled model's own loss


@final
@dataclass(frozen=True)
class VSD:
    """Variational score distillation (ProlificDreamer, arXiv 2305.16213, equation 9 and algorithm 1).

        gradient of the picture x:    E [ w(t) (z(x_t; t, prompt) - z_phi(x_t; t, prompt)) ]
        loss of the weights phi:      E [ |z_phi(x_t'; t', prompt) - z'|^2 ]

    The distilled model `z_phi` learns the pictures as they are now: its weights and its optimiser are part of the
    state, and every step of a window is evaluated at the weights that are guessed for it. Both lines are losses of the
    step, and neither has a gradient for the other's variables:

        weights = distilled.trained_weights()
        loop = Loop([field, weights], [Adam([field]), AdamW(weights.values())], ...)

    Args:
        prior: the diffusion model.
        distilled: the model that learns. Its weights are handed in at every call.
        guidance: of the prior; 7.5 in the paper. The distilled model is asked with the prompt only.
        timesteps: of the first line. The second draws from 0 to 1.
        weight: `w`, of signal and noise.
        seed: of the noise.
    """

    prior: Prior
    distilled: DistilledModel
    guidance: float = 7.5
    timesteps: TimestepSchedule = ConstantRange()
    weight: WeightFunction = variance_weight
    seed: int = 0

    def __call__(
        self,
        pictures: Tensor,
        steps: Tensor,
        cameras: Any,
        weights: NamedWeights,
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the steps for the pictures, whose gradient alone means something, and for the weights.

        Args:
            pictures: `(W, V, 3, H, W)` in [0, 1]: V views a step.
            steps: int64 `(W,)`.
            cameras: of the `W * V` pictures, for the conditioning.
            weights: of the distilled model, by name, `(W, ...)` each.

        Returns:
            Two tensors `(W,)`.
        """
        count = len(steps)
        batch = add_step_noise(self.prior, pictures, steps, self.timesteps, seed=self.seed)
        fit_batch = add_step_noise(
            self.prior,
            pictures.detach(),
            steps,
            ConstantRange(0.0, 1.0),
            seed=self.seed + FIT_SEED_OFFSET,
        )
        arguments = self.prior.network_arguments(len(batch.clean), cameras, guided=False)
        with torch.no_grad():
            prior_noise = self.prior.guided_noise(
                batch.noisy,
                batch.timesteps,
                cameras,
                guidance=self.guidance,
            )
            distilled_noise = self.distilled.predict_noise(weights, batch.noisy, batch.timesteps, arguments)
            pull = weigh_difference(self.prior, self.weight, batch.timesteps, prior_noise - distilled_noise)
        fit_noise = self.distilled.predict_noise(weights, fit_batch.noisy, fit_batch.timesteps, arguments)
        squares = (fit_noise - fit_batch.noise).square().flatten(1).mean(1)
        fit = squares.reshape(count, -1).mean(1)
        return pull_losses(batch.clean, pull, count), fit
