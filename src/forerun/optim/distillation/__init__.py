"""Score distillation: any diffusion model of diffusers as the judge of pictures that something else makes."""

from forerun.optim.distillation.conditioning import Conditioning, Directional, Fixed, Seen
from forerun.optim.distillation.prior import Latents, Pixels, Prior, Space
from forerun.optim.distillation.sds import SDS
from forerun.optim.distillation.timesteps import Annealed, Between, Switched, Timesteps, even, variance
from forerun.optim.distillation.vsd import VSD, Distilled

__all__ = [
    "SDS",
    "VSD",
    "Annealed",
    "Between",
    "Conditioning",
    "Directional",
    "Distilled",
    "Fixed",
    "Latents",
    "Pixels",
    "Prior",
    "Seen",
    "Space",
    "Switched",
    "Timesteps",
    "even",
    "variance",
]
