"""sample: a bare denoising network and any diffusers scheduler, in parallel over the steps; no pipeline needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Unpack

import torch
from torch import Tensor

from forerun.diffusion.schedulers.noise import Generators
from forerun.diffusion.schedulers.quirks import (
    INITIAL_SCALE,
    TRAIN_TIMESTEPS,
    is_scheduler,
    lacks_timesteps,
)
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.engine.guesses import Probe
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import PerStep

# (samples (N, *shape), scaled by the scheduler; timesteps (N,)) -> what the scheduler's step takes, (N, *shape)
SampleDenoiser = Callable[[Tensor, Tensor], Tensor]
SAMPLE_DEFAULTS = SolveOptions(guess=Probe(8))


def sample(
    denoiser: SampleDenoiser,
    scheduler: Any,
    noise: Tensor,
    *,
    steps: int | None = None,
    generator: Generators = None,
    step_options: Mapping[str, Any] = MappingProxyType({}),
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> Solution:
    """Sample with an unmodified diffusers scheduler, many steps at a time.

    The sample is that of the loop that needs no library, in fewer rounds:

        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(scheduler.scale_model_input(x, t), t), t, x, generator=generator)[0]

    Args:
        denoiser: predicts what the scheduler was configured for (noise, velocity, sample, flow), for many samples at
            once: `(samples (N, *shape), timesteps (N,)) -> (N, *shape)`, guidance included.
        scheduler: a diffusers scheduler; copies of it are stepped.
        noise: standard normal, `(B, *shape)`.
        steps: for `scheduler.set_timesteps`; None where the scheduler already has its timesteps.
        generator: of the noise of a stochastic scheduler, handed to its step; left as the loop would leave it.
        step_options: further arguments of the scheduler's step, such as `{"eta": 1.0}`.
        options: how to solve, as one object. A plain number as tolerance is the root mean square by which a sample may
            be off, in units of the standard deviation of the samples of its step.
        keywords: the options one by one; `SolveOptions` says what they mean. `guess` is `Probe(8)` by default.

    Returns:
        A `Solution` whose `value` is the sample, `(B, *shape)`.

    Raises:
        TypeError: the scheduler is not one of diffusers, or an option is of the wrong kind.
        ValueError: there are no timesteps, more than the scheduler was trained with, or the noise is not finite.
    """
    options = SolveOptions.gather(options, keywords).over(SAMPLE_DEFAULTS)
    scheduler = _prepare_scheduler(scheduler, steps, noise)
    first = noise * float(INITIAL_SCALE.read(scheduler))
    timesteps = list(scheduler.timesteps)

    def predict(steps: Tensor, samples: Tensor) -> Tensor:
        times = torch.stack([torch.as_tensor(timesteps[step]) for step in steps.tolist()])
        scaled = process.scale_samples(steps, samples).flatten(0, 1)
        row_times = times.to(samples.device).repeat_interleave(samples.shape[1])
        predicted = denoiser(scaled, row_times)
        _check_prediction(predicted, scaled)
        return predicted.reshape(samples.shape)

    process = SchedulerSampling(
        predict,
        scheduler,
        first,
        timesteps,
        generator=generator,
        step_options=step_options,
    )
    tolerance = options.settled(tolerance=lambda value: PerStep(value, process.levels)).tolerance
    options = replace(options, tolerance=tolerance)
    solution = solve(process, process.state(first), options=options)
    if solution.status.done:
        process.finish()
    return replace(solution, state=process.sample_of(solution.state))


def _check_prediction(predicted: Any, samples: Tensor) -> None:
    """Refuse what a denoiser returned unless it is one prediction a sample."""
    if isinstance(predicted, Tensor) and predicted.shape == samples.shape:
        return
    received = list(predicted.shape) if isinstance(predicted, Tensor) else type(predicted).__name__
    raise ValueError(
        f"the denoiser received samples {list(samples.shape)} and returned {received}; return a tensor of the same "
        "shape, such as unet(x, t).sample"
    )


def _prepare_scheduler(scheduler: Any, steps: int | None, noise: Tensor) -> Any:
    """Return a copy of the scheduler with its timesteps, if they and the noise make sense."""
    name = type(scheduler).__name__
    if not is_scheduler(scheduler):
        raise TypeError(f"{name} is not a diffusers scheduler; pass one such as diffusers.DDIMScheduler()")
    if steps is not None:
        _check_steps(scheduler, steps)
    _check_noise(noise)
    scheduler = copy.deepcopy(scheduler)
    if steps is not None:
        scheduler.set_timesteps(steps, device=noise.device)
    if lacks_timesteps(scheduler, steps):
        raise ValueError(f"{name} has no timesteps yet; pass steps=50, or call scheduler.set_timesteps(50)")
    return scheduler


def _check_steps(scheduler: Any, steps: int) -> None:
    name = type(scheduler).__name__
    max_steps = TRAIN_TIMESTEPS.read(scheduler)
    if steps < 1 or (max_steps is not None and steps > max_steps):
        raise ValueError(f"steps = {steps}, but {name} takes 1 .. {max_steps}; pass one of these, such as steps=50")


def _check_noise(noise: Tensor) -> None:
    if noise.dim() < 2:
        raise ValueError(
            f"the noise has shape {list(noise.shape)}; its first axis is the batch: torch.randn(batch, *shape), of one "
            "sample noise.unsqueeze(0)"
        )
    if not torch.isfinite(noise).all():
        raise ValueError("the noise holds values that are not finite; draw it with torch.randn(batch, *shape)")
