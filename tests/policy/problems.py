"""Policies for tests: small networks that depend on all that they are given, and loops of diffusers to compare with."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch
from torch import Tensor

SHAPE, OBS = (8, 3), 5


def network(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
    """Bounded and smooth; `(N, 8, 3)`, `(N,)`, `(N, 5)`."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(24, 24, generator=generator).to(x) / 24**0.5
    seen = torch.randn(5, 24, generator=generator).to(x)
    found = torch.tanh(x.flatten(1) @ mixing + observation @ seen + 1e-2 * t.to(x)[:, None])
    return found.reshape(x.shape)


def walker(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
    """Denoised chunks `(N, 8, 3)` of a policy that follows its observation `(N, 5)`, and moves on with the horizon.

    The first number of the observation is the phase that the chunk begins at: what was to come moves to the front.
    """
    phase = observation[:, :1] + 0.3 * torch.arange(8).to(x)
    aim = 0.6 * torch.sin(torch.stack([phase, phase + 2, phase + 4], -1) + observation[:, None, 1:2])
    near = x + 0.5 * (x.roll(1, 1) + x.roll(-1, 1))
    return aim + 0.3 * torch.tanh(near) * (1 - t.to(x) / 120)[:, None, None]


def on_the_way(tick: int, executed: int = 3) -> Tensor:
    """What `walker` observes."""
    return torch.tensor([0.3 * executed * tick, 0.02 * tick, 0.0, 0.0, 0.0], dtype=torch.float64)


def ddpm(**options: Any) -> Any:
    """As most policies are trained."""
    chosen = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True, **options}
    return diffusers.DDPMScheduler(**chosen)


def seen(seed: int, *batch: int) -> Tensor:
    """An observation."""
    return torch.randn(*batch, OBS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@contextmanager
def handing_out(module: Any, rows: Iterator[Tensor]) -> Iterator[None]:
    """`randn_tensor`, as the schedulers of a module call it, gives these instead."""
    before: Callable[..., Tensor] = module.randn_tensor
    module.randn_tensor = lambda *arguments, **options: next(rows)
    try:
        yield
    finally:
        module.randn_tensor = before


def own_loop(
    scheduler: Any, steps: int, noise: Tensor, observation: Tensor, *, denoiser: Any = network, **options: Any
) -> Tensor:
    """The plain loop of diffusers, with the noise `(N, B, H, A)` of a tick."""
    scheduler.set_timesteps(steps)
    x = noise[0] * getattr(scheduler, "init_noise_sigma", 1.0)
    rows = noise[1:]
    module = sys.modules[type(scheduler).__module__]
    for index, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        predicted = denoiser(scaled, t.expand(len(x)), observation)
        if not len(rows):
            x = scheduler.step(predicted, t, x, **options).prev_sample
            continue
        with handing_out(module, iter([rows[index]])):
            x = scheduler.step(predicted, t, x, **options).prev_sample
    return x
