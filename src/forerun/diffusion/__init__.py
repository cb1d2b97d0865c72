"""Diffusion models: sampling as a Process."""

from forerun.diffusion.denoising import (
    Coefficients,
    Denoising,
    Increments,
    Schedule,
    clipped,
    from_noise,
    from_velocity,
)
from forerun.diffusion.digits import DigitsDenoiser, ExactDenoiser, load_digits, load_digits_denoiser

__all__ = [
    "Coefficients",
    "Denoising",
    "DigitsDenoiser",
    "ExactDenoiser",
    "Increments",
    "Schedule",
    "clipped",
    "from_noise",
    "from_velocity",
    "load_digits",
    "load_digits_denoiser",
]
