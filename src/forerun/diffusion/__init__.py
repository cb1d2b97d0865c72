"""Diffusion models: any diffusers pipeline, any scheduler of theirs, or a bare denoiser, ahead of order."""

from forerun.diffusion.denoising import (
    Coefficients,
    Denoising,
    Increments,
    Schedule,
    clipped,
    from_noise,
    from_velocity,
)
from forerun.diffusion.pipelines.parallel import parallel
from forerun.diffusion.schedulers.sample import sample

__all__ = [
    "Coefficients",
    "Denoising",
    "Increments",
    "Schedule",
    "clipped",
    "from_noise",
    "from_velocity",
    "parallel",
    "sample",
]
