"""The plain loop over the steps of a scheduler: the truth, and what running ahead has to beat."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from forerun.policy.noise import TickNoise
from forerun.policy.plan import PolicyDenoiser, TickPlan


@final
class InOrderSampler:
    """Chunks of actions, one step of the scheduler after another, without anything between.

        x_{i+1} = a_i x_i + b_i o_i + sigma_i z_i,    o_i the denoised chunk

    The numbers are read off the scheduler beforehand, so that a step costs a call of the network and three small
    products. With the seed of a `Sampler` it meets the same noise in every tick that begins afresh.

    Args:
        denoiser: as of `Sampler`.
        scheduler: of diffusers, whose steps are affine, such as DDPM and DDIM.
        shape: `(B, H, A)`: of all environments' chunks.
        steps: of the scheduler.
        seed: of the noise.
        options: further keyword arguments of the scheduler's step.

    Attributes:
        milliseconds: of the last call.

    Raises:
        ValueError: a step of the scheduler is not affine.
    """

    def __init__(
        self,
        denoiser: PolicyDenoiser,
        scheduler: Any,
        shape: Sequence[int],
        *,
        steps: int = 100,
        seed: int = 0,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        like = torch.zeros(*shape)
        self.plan = TickPlan(scheduler, steps, like, step_options=options)
        if self.plan.factors is None:
            raise ValueError(f"the steps of {type(scheduler).__name__} are not affine; use DDPMScheduler")
        self._denoiser = denoiser
        self._noises = TickNoise(seed, 1 + self.plan.length if self.plan.adds_noise else 1, like)
        self._steps = [torch.tensor([step]) for step in range(self.plan.length)]
        self._maps = list(
            zip(*(each.flatten().tolist() for each in (*self.plan.factors, self.plan.sigma)), strict=True)
        )
        self.milliseconds = 0.0

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor | None = None) -> Tensor:
        """Chunks `(B, H, A)` for observations `(B, *obs)`.

        Args:
            observation: what is seen.
            noise: of a tick, as `Sampler.noise` has it; fresh unless given.
        """
        begun = time.perf_counter()
        noise, plan = self._noises.draw_fresh() if noise is None else noise, self.plan
        sample, times = plan.first_sigma * noise[0], plan.timesteps.expand(len(observation), -1)
        for step, (a, b, sigma) in enumerate(self._maps):
            predicted = self._denoiser(sample, times[:, step], observation)
            output = plan.to_outputs(self._steps[step], sample[None], predicted[None])[0]
            sample = a * sample + b * output
            if sigma:
                sample = sample + sigma * noise[1 + step]
        self.milliseconds = 1000 * (time.perf_counter() - begun)
        return sample
