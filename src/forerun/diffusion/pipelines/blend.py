"""Blending: what inpainting does to the samples between two steps.

    x <- m x + (1 - m) A,      A = the known picture, noised to the next step's level

with a mask `m` for every element. `A` comes from the scheduler's own `add_noise` (or `scale_noise`), whose calls are
watched; the mask is read off one transition, and confirmed by the next before anything is solved with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.schedulers.history import TINY, SchedulerReplay

TIMES = ("timesteps", "timestep")
ORIGINALS = ("original_samples", "sample")
ALIKE = 1e-6  # of the size of the samples: too close to tell a mask from


@dataclass(frozen=True)
class NoisingCall:
    """A call of `add_noise` or `scale_noise`: its name, its arguments by name, and what it returned."""

    name: str
    arguments: Mapping[str, Any]
    result: Tensor


@dataclass(frozen=True)
class Blend:
    """The mask, and the call that gives the known picture at the level of a step."""

    mask: Tensor
    noised: NoisingCall

    def at(self, script: SchedulerReplay, step: int, sample: Tensor) -> Tensor:
        """The sample after the step `step` of a script, blended with the known picture."""
        known = self._known(script, step + 1).to(sample)
        mask = self.mask.to(sample)
        return mask * sample + (1 - mask) * known

    def _known(self, script: SchedulerReplay, step: int) -> Tensor:
        given = dict(self.noised.arguments)
        if step >= len(script):
            original: Tensor = next(given[name] for name in ORIGINALS if name in given)
            return original
        name = next(name for name in TIMES if name in given)
        seen = torch.as_tensor(given[name])
        given[name] = torch.as_tensor(script.timesteps[step]).to(seen.device).expand(seen.shape).to(seen.dtype)
        skeleton = script.skeletons[step]
        scheduler = skeleton.fill([torch.zeros(TINY)] * skeleton.count)
        known: Tensor = getattr(scheduler, self.noised.name)(**given)
        return known


def find_blend(noised: NoisingCall | None, stepped: Tensor, given: Tensor) -> Blend | None:
    """How the sample `stepped` that a step returned became the sample that the next was `given`; None where unknown."""
    if noised is None or stepped.shape != given.shape or noised.result.dim() != given.dim():
        return None
    known = noised.result.to(given).float()
    ours, theirs = stepped.float(), given.float()
    rounding = 16 * torch.finfo(given.dtype).eps
    threshold = rounding * theirs.abs().max()
    mask = ((theirs - ours).abs() <= (theirs - known).abs()).float()  # all or nothing, as masks usually are
    if not _within(mask, (ours, known, theirs), threshold):
        apart = ours - known
        told = apart.abs() > ALIKE * ours.abs().max()
        mask = torch.where(told, (theirs - known) / torch.where(told, apart, 1.0), 1.0).clamp(0, 1)
    return Blend(mask, noised) if _within(mask, (ours, known, theirs), threshold) else None


def _within(mask: Tensor, samples: tuple[Tensor, Tensor, Tensor], threshold: Tensor) -> bool:
    ours, known, theirs = samples
    return bool((mask * ours + (1 - mask) * known - theirs).abs().max() <= threshold)
