"""sample: a bare denoising network and any diffusers scheduler, ahead of order; no pipeline needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.schedulers.noise import Generators
from forerun.diffusion.schedulers.sampling import Sampling
from forerun.engine.backends import Backend, Local
from forerun.engine.check import Check
from forerun.engine.event import RoundEvent
from forerun.engine.guesses import Guess, Probe
from forerun.engine.methods import Method, Secant
from forerun.engine.progress import Progress, Silent
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.engine.windows import Auto, Window

# (samples (N, *shape), scaled by the scheduler; timesteps (N,)) -> what the scheduler's step takes, (N, *shape)
Denoiser = Callable[[Tensor, Tensor], Tensor]


def sample(
    denoiser: Denoiser,
    scheduler: Any,
    noise: Tensor,
    *,
    steps: int | None = None,
    generator: Generators = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    method: Method = Secant(),
    window: Window = Auto(),
    tolerance: float | Tolerance = 1e-3,
    check: bool | Check = True,
    guess: Guess = Probe(8),
    backend: Backend = Local(),
    progress: Progress = Silent(),
    callback: Callable[[RoundEvent], Any] = lambda event: None,
) -> Solution:
    """Sample with a diffusers scheduler, unmodified, ahead of order.

    The same as the loop that needs no library, in fewer rounds:

        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(scheduler.scale_model_input(x, t), t), t, x, generator=generator)[0]

    Args:
        denoiser: predicts what the scheduler was configured for (noise, velocity, sample, flow), for many samples at
            once: `(samples (N, *shape), timesteps (N,)) -> (N, *shape)`, guidance included.
        scheduler: a diffusers scheduler; copies of it are stepped.
        noise: standard normal, `(B, *shape)`.
        steps: for `scheduler.set_timesteps`; None where the scheduler was given its timesteps.
        generator: of the noise of a stochastic scheduler, handed to its step; left as the loop would leave it.
        options: further arguments of the scheduler's step, such as `{"eta": 1.0}`.
        tolerance: root mean square by which a sample may be off, in units of the standard deviation of the samples of
            its step; or a `Tolerance`, in the units of the samples.

    The other arguments are those of `forerun.solve`.

    Returns:
        A `Solution` whose `state` is the sample, `(B, *shape)`.

    Raises:
        ValueError: there are no timesteps, more than the scheduler was trained with, or the noise is not finite.
    """
    scheduler = _prepared(scheduler, steps, noise)
    first = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
    timesteps = list(scheduler.timesteps)

    def network(steps: Tensor, samples: Tensor) -> Tensor:
        times = torch.stack([torch.as_tensor(timesteps[step]) for step in steps.tolist()]).to(samples.device)
        scaled = process.scaled(steps, samples).flatten(0, 1)
        return _shaped(denoiser(scaled, times.repeat_interleave(samples.shape[1])), scaled).reshape(samples.shape)

    process = Sampling(network, scheduler, first, timesteps, generator=generator, options=options)
    solution = solve(
        process,
        process.state(first),
        method=method,
        window=window,
        tolerance=tolerance if isinstance(tolerance, Tolerance) else PerStep(tolerance, process.levels),
        check=check,
        guess=guess,
        backend=backend,
        progress=progress,
        callback=callback,
    )
    if solution.status.done:
        process.finish()
    return replace(solution, state=process.sample(solution.state))


def _shaped(predicted: Any, samples: Tensor) -> Tensor:
    """What the denoiser returned, if it is one prediction a sample."""
    if not isinstance(predicted, Tensor) or predicted.shape != samples.shape:
        came = list(predicted.shape) if isinstance(predicted, Tensor) else type(predicted).__name__
        raise ValueError(
            f"the denoiser was given samples {list(samples.shape)} and returned {came}; return a tensor of the same "
            "shape, such as unet(x, t).sample"
        )
    return predicted


def _prepared(scheduler: Any, steps: int | None, noise: Tensor) -> Any:
    """A copy of the scheduler with its timesteps, if they and the noise make sense."""
    name = type(scheduler).__name__
    if not callable(getattr(scheduler, "step", None)) or not callable(getattr(scheduler, "set_timesteps", None)):
        raise TypeError(f"{name} is no diffusers scheduler; pass one such as diffusers.DDIMScheduler()")
    train = scheduler.config.get("num_train_timesteps")
    if steps is not None and (steps < 1 or (train is not None and steps > train)):
        raise ValueError(f"steps = {steps}, but {name} takes 1 .. {train}; pass one of these, such as steps=50")
    if noise.dim() < 2:
        raise ValueError(
            f"the noise has shape {list(noise.shape)}; its first axis is the batch: torch.randn(batch, *shape), of one "
            "sample noise.unsqueeze(0)"
        )
    if not torch.isfinite(noise).all():
        raise ValueError("the noise holds values that are not finite; draw it with torch.randn(batch, *shape)")
    scheduler = copy.deepcopy(scheduler)
    if steps is not None:
        scheduler.set_timesteps(steps, device=noise.device)
    if getattr(scheduler, "num_inference_steps", steps) is None:
        raise ValueError(f"{name} has no timesteps yet; pass steps=50, or call scheduler.set_timesteps(50)")
    return scheduler
