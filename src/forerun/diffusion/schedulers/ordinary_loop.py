"""OrdinaryLoop: the loop over a scheduler that needs no library, which `sample` is held against and falls back to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.noise import Generators
from forerun.diffusion.schedulers.quirks import scale_input
from forerun.diffusion.schedulers.step_signature import previous_sample, takes_generator
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.solution import RunTiming, Solution, Status

# (samples (N, *shape), scaled by the scheduler; timesteps (N,)) -> what the scheduler's step takes, (N, *shape)
SampleDenoiser = Callable[[Tensor, Tensor], Tensor]


@final
@dataclass(frozen=True)
class OrdinaryLoop:
    """The loop of `sample`, as its user would write it.

    Attributes:
        denoiser: the user's own.
        scheduler: with its timesteps; never stepped itself.
        first: the sample before the first step, `(B, *shape)`.
        generator: of the noise, handed to the step.
        step_options: further arguments of the step.
    """

    denoiser: SampleDenoiser
    scheduler: Any
    first: Tensor
    generator: Generators
    step_options: Mapping[str, Any]

    def call_denoiser(self, scaled: Tensor, timestep: Any) -> Tensor:
        """Return what the denoiser predicts for the samples of one step, `(B, *shape)`."""
        time = torch.as_tensor(timestep).to(scaled.device)
        predicted = self.denoiser(scaled, time.reshape(1).expand(len(scaled)))
        check_prediction(predicted, scaled)
        return predicted

    def run(self, note: str) -> Solution:
        """Return the solution of the loop, with a note that says why it ran."""
        scheduler = copy.deepcopy(self.scheduler)
        keywords = dict(self.step_options)
        if takes_generator(scheduler) and self.generator is not None:
            keywords["generator"] = self.generator
        sample = self.first
        timesteps = list(scheduler.timesteps)
        for timestep in timesteps:
            scaled = scale_input(scheduler, sample, timestep)
            predicted = self.call_denoiser(scaled, timestep)
            sample = previous_sample(scheduler.step(predicted, timestep, sample, **keywords))
        length = len(timesteps)
        end = Checkpoint(length, length, sample.detach(), rounds=length, evaluations=length)
        return Solution(
            state=sample,
            length=length,
            status=Status.SEQUENTIAL if bool(torch.isfinite(sample).all()) else Status.NONFINITE,
            log=(),
            deviation=torch.zeros(len(sample)),
            checkpoint=end,
            seconds=RunTiming(),
            notes=[note],
        )


def check_prediction(predicted: Any, samples: Tensor) -> None:
    """Refuse what a denoiser returned unless it is one prediction a sample."""
    if isinstance(predicted, Tensor) and predicted.shape == samples.shape:
        return
    received = list(predicted.shape) if isinstance(predicted, Tensor) else type(predicted).__name__
    raise ValueError(
        f"the denoiser received samples {list(samples.shape)} and returned {received}; return a tensor of the same "
        "shape, such as unet(x, t).sample"
    )
