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

from forerun.diffusion.schedulers.history import TINY, Script

TIMES = ("timesteps", "timestep")
ORIGINALS = ("original_samples", "sample")
ALIKE = 1e-6  # of the size of the samples: too close to tell a mask from


@dataclass(frozen=True)
class Noised:
    """A call of `add_noise` or `scale_noise`: its name, its arguments by name, and what it returned."""

    name: str
    arguments: Mapping[str, Any]
    result: Tensor


@dataclass(frozen=True)
class Blend:
    """The mask, and the call that gives the known picture at the level of a step."""

    mask: Tensor
    noised: Noised

    def at(self, script: Script, step: int, sample: Tensor) -> Tensor:
        """The sample after the step `step` of a script, blended with the known picture."""
        known = self._known(script, step + 1).to(sample)
        mask = self.mask.to(sample)
        return mask * sample + (1 - mask) * known

    def _known(self, script: Script, step: int) -> Tensor:
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


def find_blend(noised: Noised | None, stepped: Tensor, given: Tensor) -> Blend | None:
    """How the sample `stepped` that a step returned became the sample that the next was `given`; None where unknown."""
    if noised is None or stepped.shape != given.shape or noised.result.dim() != given.dim():
        return None
    known = noised.result.to(given).float()
    ours, theirs = stepped.float(), given.float()
    apart = ours - known
    told = apart.abs() > ALIKE * ours.abs().max()
    mask = torch.where(told, (theirs - known) / torch.where(told, apart, 1.0), 1.0)
    rounding = 16 * torch.finfo(given.dtype).eps
    # a mask that is all or nothing is so exactly
    mask = torch.where(mask.abs() < 100 * rounding, 0.0, torch.where((mask - 1).abs() < 100 * rounding, 1.0, mask))
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        return None
    made = mask * ours + (1 - mask) * known
    return Blend(mask, noised) if bool((made - theirs).abs().max() <= rounding * theirs.abs().max()) else None
