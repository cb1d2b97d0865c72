"""Plan: what is the same in every tick, read off an unmodified scheduler once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.sampling import SchedulerSampling

ROUNDING: Final = 1e-5  # of what is seen of a step's noise, that may be no multiple of what was drawn

# (actions (N, H, A), scaled by the scheduler; timesteps (N,); observations (N, *obs)) -> prediction (N, H, A)
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


@final
class Plan:
    """The steps of a scheduler on chunks of actions.

    Args:
        scheduler: a diffusers scheduler. Never modified: a copy is stepped.
        steps: for its `set_timesteps`.
        like: samples `(B, H, A)`, of the shape, dtype and device of all that follow.
        options: further keyword arguments of its `step`.

    Attributes:
        sampling: the scheduler as a process, with noise of its own that nobody asks for.
        timesteps: `(length,)`, as the network gets them.
        sigma: the standard deviation of the noise that each step adds, `(length, 1, 1, 1)`.
        first: of the first samples.
        maps: `a` and `b` of the steps `x' = a x + b o + sigma z`, each `(length, 1, 1, 1)`; None where they have no
            such form.
    """

    def __init__(self, scheduler: Any, steps: int, like: Tensor, *, options: Mapping[str, Any]) -> None:
        scheduler = prepared(scheduler, steps, like.device)
        found = list(scheduler.timesteps)
        self.sampling = SchedulerSampling(
            _nothing,
            scheduler,
            torch.zeros_like(like),
            found,
            generator=torch.Generator(device=like.device).manual_seed(0),
            step_options=options,
        )
        self.length = len(found)
        self.timesteps = torch.stack([torch.as_tensor(each) for each in found]).to(like.device)
        self.first = float(getattr(scheduler, "init_noise_sigma", 1.0))
        self.sigma = _column(self._sigmas(), like)
        self._scales = _column(self.sampling.scales, like)
        self._scaled = bool((self.sampling.scales != 1).any())
        self._p, self._q = (
            _column(each, like) for each in zip(*((s.p, s.q) for s in self.sampling.splits), strict=True)
        )
        maps = self.sampling.affine(torch.arange(self.length))
        self.maps = None if maps is None else (_column(maps.state, like), _column(maps.output, like))

    @property
    def random(self) -> bool:
        """Whether steps add noise."""
        return self.sampling.replay.draws_noise

    def scaled(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Samples `(W, B, H, A)` as the scheduler scales them for the network."""
        return samples * self._scales[steps] if self._scaled else samples

    def outputs(self, steps: Tensor, samples: Tensor, predicted: Tensor) -> Tensor:
        """The outputs for what the network predicted at samples, all `(W, B, H, A)`."""
        denoised = torch.addcmul(self._p[steps] * samples, self._q[steps], predicted)
        clipping = self.sampling.clipping
        return denoised if clipping is None else clipping(steps, samples, predicted, denoised)

    def _sigmas(self) -> Tensor:
        """What each step multiplies its noise with, seen from a step of zeros."""
        script = self.sampling.replay
        if not script.draws_noise:
            return torch.zeros(len(script), dtype=torch.float64)
        zero = torch.zeros(1, 4, 4)
        return torch.tensor([_sigma(self.sampling, step, zero) for step in range(len(script))], dtype=torch.float64)


def _sigma(sampling: SchedulerSampling, step: int, zero: Tensor) -> float:
    script = sampling.replay
    generator = torch.Generator().manual_seed(step)
    drawn = torch.randn(zero.shape, generator=torch.Generator().manual_seed(step))
    sample, *history = script.step(step, (zero, *[zero] * script.slots), zero, generator)
    sigma = float((sample * drawn).sum() / (drawn * drawn).sum())
    error = float((sample - sigma * drawn).abs().max())
    if error > ROUNDING * max(abs(sigma), 1.0) or any(bool(each.any()) for each in history):
        name = script.templates[0].kind.__name__
        raise ValueError(
            f"{name} adds noise to step {step} that is no multiple of one standard normal draw, so that a tick could "
            "not hand it on; use another scheduler, such as DDPMScheduler"
        )
    return sigma


def prepared(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy of the scheduler with its timesteps.

    Raises:
        TypeError: it is no scheduler of diffusers.
        ValueError: it takes fewer steps, or none.
    """
    name = type(scheduler).__name__
    if not callable(getattr(scheduler, "step", None)) or not callable(getattr(scheduler, "set_timesteps", None)):
        raise TypeError(f"{name} is no diffusers scheduler; pass one such as diffusers.DDPMScheduler()")
    train = scheduler.config.get("num_train_timesteps")
    if steps < 1 or (train is not None and steps > train):
        raise ValueError(
            f"steps = {steps}, but this {name} was trained with {train} timesteps, of which 1 .. {train} can be "
            f"visited; pass steps={train}, or the scheduler of the training"
        )
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps, device=device)
    return scheduler


def _column(values: Any, like: Tensor) -> Tensor:
    """One number a step, shaped to multiply `(W, B, H, A)`."""
    return torch.as_tensor(values, dtype=torch.float64).to(like).reshape(-1, 1, 1, 1)


def _nothing(steps: Tensor, samples: Tensor) -> Tensor:
    raise AssertionError("a plan has no network")
