"""The plain loop over the steps of a scheduler: the truth, and what the parallel sampler has to beat."""

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
    """Samples chunks of actions, one step of the scheduler after another, without anything between.

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
        noise_rows = 1
        if self.plan.adds_noise:
            noise_rows += self.plan.length
        self._noises = TickNoise(seed, noise_rows, like)
        self._steps = [torch.tensor([step]) for step in range(self.plan.length)]
        columns = [column.flatten().tolist() for column in (*self.plan.factors, self.plan.sigma)]
        self._maps = list(zip(*columns, strict=True))
        self.milliseconds = 0.0

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return chunks `(B, H, A)` for observations `(B, *obs)`.

        Args:
            observation: of every environment.
            noise: of a tick, as `Sampler.noise` has it; fresh unless given.
        """
        start = time.perf_counter()
        plan = self.plan
        if noise is None:
            noise = self._noises.draw_fresh()
        sample = plan.first_sigma * noise[0]
        timesteps = plan.timesteps.expand(len(observation), -1)
        for step, (a, b, sigma) in enumerate(self._maps):
            predicted = self._denoiser(sample, timesteps[:, step], observation)
            output = plan.to_outputs(self._steps[step], sample[None], predicted[None])[0]
            sample = a * sample + b * output
            if sigma:
                sample = sample + sigma * noise[1 + step]
        self.milliseconds = 1000 * (time.perf_counter() - start)
        return sample
