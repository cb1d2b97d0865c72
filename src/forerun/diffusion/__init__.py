"""Diffusion models: any diffusers pipeline, any scheduler of theirs, or a bare denoiser, in parallel over the steps."""

from forerun.diffusion.denoising import (
    Denoising,
    Increments,
    clipped,
    from_noise,
    from_velocity,
)
from forerun.diffusion.pipelines.parallel import parallel
from forerun.diffusion.schedule import Coefficients, Schedule
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
