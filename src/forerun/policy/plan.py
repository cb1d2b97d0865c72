"""The plan of a tick: what is the same in every tick, read off an unmodified scheduler once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.quirks import INITIAL_SCALE, TRAIN_TIMESTEPS, describe_patch, is_scheduler
from forerun.diffusion.schedulers.sampling import SchedulerSampling

# share of a step's noise, as it is measured, that may be no multiple of what was drawn
NOISE_ROUNDING: Final = 1e-5

# (actions (N, H, A), scaled by the scheduler; timesteps (N,); observations (N, *obs)) -> prediction (N, H, A)
PolicyDenoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


@final
class TickPlan:
    """The steps of a scheduler on chunks of actions.

    Args:
        scheduler: a diffusers scheduler. Never modified: a copy is stepped.
        steps: for its `set_timesteps`.
        like: samples `(B, H, A)`, of the shape, dtype and device of all that follow.
        step_options: further keyword arguments of its `step`.

    Attributes:
        sampling: the scheduler as a process, with noise of its own that nobody asks for.
        length: number of steps.
        timesteps: `(length,)`, as the network gets them.
        sigma: the standard deviation of the noise that each step adds, `(length, 1, 1, 1)`.
        first_sigma: the standard deviation of the first samples.
        factors: `a` and `b` of the steps `x' = a x + b o + sigma z`, each `(length, 1, 1, 1)`; None where the steps
            have no such form.
    """

    def __init__(
        self,
        scheduler: Any,
        steps: int,
        like: Tensor,
        *,
        step_options: Mapping[str, Any],
    ) -> None:
        scheduler = prepare_scheduler(scheduler, steps, like.device)
        timesteps = [torch.as_tensor(timestep) for timestep in scheduler.timesteps]
        self.sampling = SchedulerSampling(
            _refuse_call,
            scheduler,
            torch.zeros_like(like),
            list(scheduler.timesteps),
            generator=torch.Generator(device=like.device).manual_seed(0),
            step_options=step_options,
        )
        self.length = len(timesteps)
        self.timesteps = torch.stack(timesteps).to(like.device)
        self.first_sigma = float(INITIAL_SCALE.read(scheduler))
        self.sigma = _to_column(self._measure_sigmas(), like)
        self._scales = _to_column(self.sampling.scales, like)
        self._scales_inputs = bool((self.sampling.scales != 1).any())
        self._p = _to_column([split.p for split in self.sampling.splits], like)
        self._q = _to_column([split.q for split in self.sampling.splits], like)
        self.factors = self._read_factors(like)

    @property
    def adds_noise(self) -> bool:
        """Whether steps add noise."""
        return self.sampling.replay.draws_noise

    def scale_inputs(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Return samples `(W, B, H, A)` as the scheduler scales them for the network."""
        if not self._scales_inputs:
            return samples
        return samples * self._scales[steps]

    def to_outputs(self, steps: Tensor, samples: Tensor, predictions: Tensor) -> Tensor:
        """Return the outputs for what the network predicted at samples, all `(W, B, H, A)`."""
        denoised = torch.addcmul(self._p[steps] * samples, self._q[steps], predictions)
        clipping = self.sampling.clipping
        if clipping is None:
            return denoised
        return clipping(steps, samples, predictions, denoised)

    def _read_factors(self, like: Tensor) -> tuple[Tensor, Tensor] | None:
        maps = self.sampling.affine(torch.arange(self.length))
        if maps is None:
            return None
        return _to_column(maps.state, like), _to_column(maps.output, like)

    def _measure_sigmas(self) -> Tensor:
        """Return what each step multiplies its noise with, measured on a sample of zeros."""
        length = len(self.sampling.replay)
        if not self.adds_noise:
            return torch.zeros(length, dtype=torch.float64)
        zero = torch.zeros(1, 4, 4)
        sigmas = [_measure_sigma(self.sampling, step, zero) for step in range(length)]
        return torch.tensor(sigmas, dtype=torch.float64)


def refuse_numbers(
    shape: Sequence[int],
    executed: int,
    first: int,
    environments: int,
) -> None:
    """Refuse a chunk, or numbers of actions and environments, that make no sense."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape = {tuple(shape)}, but a chunk is (horizon, dimensions of an action), such as (16, 4)")
    if not 1 <= executed <= shape[0] or not 0 <= first < shape[0]:
        raise ValueError(
            f"executed = {executed} and first = {first} of a horizon of {shape[0]}; execute 1 .. {shape[0]} actions, "
            f"from one of 0 .. {shape[0] - 1} on"
        )
    if environments < 1:
        raise ValueError(f"environments = {environments}; pass how many are observed together, 1 or more")


def prepare_scheduler(scheduler: Any, steps: int, device: torch.device) -> Any:
    """Return a copy of the scheduler with its timesteps.

    Raises:
        TypeError: it is not a scheduler of diffusers.
        ValueError: it takes fewer steps, or none.
    """
    name = type(scheduler).__name__
    if not is_scheduler(scheduler):
        raise TypeError(f"{name} is not a diffusers scheduler; pass one such as diffusers.DDPMScheduler()")
    trained_steps = TRAIN_TIMESTEPS.read(scheduler)
    if steps < 1 or (trained_steps is not None and steps > trained_steps):
        raise ValueError(
            f"steps = {steps}, but this {name} was trained with {trained_steps} timesteps, of which "
            f"1 .. {trained_steps} can be visited; pass steps={trained_steps}, or the scheduler of the training"
        )
    patch = describe_patch(scheduler)
    if patch is not None:
        raise ValueError(patch)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps, device=device)
    return scheduler


def _measure_sigma(sampling: SchedulerSampling, step: int, zero: Tensor) -> float:
    replay = sampling.replay
    noise = torch.randn(zero.shape, generator=torch.Generator().manual_seed(step))
    generator = torch.Generator().manual_seed(step)
    sample, *history = replay.step(step, (zero, *[zero] * replay.slots), zero, generator)
    sigma = float((sample * noise).sum() / (noise * noise).sum())
    error = float((sample - sigma * noise).abs().max())
    if error > NOISE_ROUNDING * max(abs(sigma), 1.0) or any(bool(slot.any()) for slot in history):
        raise ValueError(
            f"{replay.templates[0].kind.__name__} adds noise to step {step} that is not a multiple of one standard "
            "normal draw, so that a tick could not hand it on; use another scheduler, such as DDPMScheduler"
        )
    return sigma


def _to_column(values: Any, like: Tensor) -> Tensor:
    """Return one number a step, shaped to multiply `(W, B, H, A)`."""
    return torch.as_tensor(values, dtype=torch.float64).to(like).reshape(-1, 1, 1, 1)


def _refuse_call(steps: Tensor, samples: Tensor) -> Tensor:
    raise AssertionError("a plan has no network")
