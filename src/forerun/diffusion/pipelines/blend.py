"""Blending: what inpainting does to the samples between two steps.

    x <- m x + (1 - m) A,      A = the known picture, noised to the next step's level

with a mask `m` for every element. `A` comes from the scheduler's own `add_noise` (or `scale_noise`), whose calls are
watched; the mask is read off one transition, and confirmed by the next before anything is solved with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.quirks import NOISE_SAMPLE_ARGUMENTS, NOISE_TIME_ARGUMENTS
from forerun.diffusion.schedulers.replay import SchedulerReplay

LEAST_CONTRAST = 1e-6  # of the size of the samples, below which a mask cannot be read off
BLEND_ROUNDINGS = 16


@dataclass(frozen=True)
class NoisingCall:
    """A call of `add_noise` or `scale_noise`: its name, its arguments by name, and what it returned."""

    name: str
    arguments: Mapping[str, Any]
    result: Tensor


@dataclass(frozen=True)
class MaskBlend:
    """The mask, and the call that gives the known picture at the level of a step."""

    mask: Tensor
    noising: NoisingCall

    def apply(self, replay: SchedulerReplay, step: int, sample: Tensor) -> Tensor:
        """Return the sample after the step `step` of a replay, blended with the known picture."""
        picture = self._noise_picture(replay, step + 1).to(sample)
        mask = self.mask.to(sample)
        return mask * sample + (1 - mask) * picture

    def _noise_picture(self, replay: SchedulerReplay, step: int) -> Tensor:
        arguments = dict(self.noising.arguments)
        if step >= len(replay):
            clean: Tensor = arguments[_first_name(NOISE_SAMPLE_ARGUMENTS, arguments)]
            return clean
        name = _first_name(NOISE_TIME_ARGUMENTS, arguments)
        times = torch.as_tensor(arguments[name])
        timestep = torch.as_tensor(replay.timesteps[step])
        arguments[name] = timestep.to(times.device).expand(times.shape).to(times.dtype)
        add_noise = getattr(replay.empty_scheduler(step), self.noising.name)
        picture: Tensor = add_noise(**arguments)
        return picture


def _first_name(names: Sequence[str], arguments: Mapping[str, Any]) -> str:
    return next(name for name in names if name in arguments)


def find_blend(
    noising: NoisingCall | None,
    stepped: Tensor,
    received: Tensor,
) -> MaskBlend | None:
    """Return how the sample that a step returned became the one that the next step received; None where unknown."""
    if noising is None or stepped.shape != received.shape or noising.result.dim() != received.dim():
        return None
    transition = _Transition(
        stepped.float(),
        noising.result.to(received).float(),
        received.float(),
        torch.finfo(received.dtype).eps,
    )
    mask = transition.binary_mask()
    if not transition.agrees_with(mask):
        mask = transition.fitted_mask()
    return MaskBlend(mask, noising) if transition.agrees_with(mask) else None


@final
@dataclass(frozen=True)
class _Transition:
    """A sample before blending, the noised picture, and the sample after blending."""

    before: Tensor
    picture: Tensor
    after: Tensor
    rounding: float

    def binary_mask(self) -> Tensor:
        """Return the mask of zeros and ones that is nearest, as masks usually are."""
        changed = (self.after - self.before).abs()
        remaining = (self.after - self.picture).abs()
        return (changed <= remaining).float()

    def fitted_mask(self) -> Tensor:
        """Return the mask in 0 .. 1 that explains every element."""
        contrast = self.before - self.picture
        readable = contrast.abs() > LEAST_CONTRAST * self.before.abs().max()
        safe_contrast = torch.where(readable, contrast, 1.0)
        share = (self.after - self.picture) / safe_contrast
        return torch.where(readable, share, 1.0).clamp(0, 1)

    def agrees_with(self, mask: Tensor) -> bool:
        """Return whether blending with a mask leads to the sample after it."""
        threshold = BLEND_ROUNDINGS * self.rounding * self.after.abs().max()
        blended = mask * self.before + (1 - mask) * self.picture
        return bool((blended - self.after).abs().max() <= threshold)
