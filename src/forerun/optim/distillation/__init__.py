"""Score distillation: any diffusion model of diffusers as the judge of pictures that something else makes."""

from forerun.optim.distillation.conditioning import CameraConditioning, Conditioning, DirectionalPrompts, FixedPrompt
from forerun.optim.distillation.distilled_model import DistilledModel
from forerun.optim.distillation.prior import LatentSpace, PictureSpace, PixelSpace, Prior
from forerun.optim.distillation.sds import SDS
from forerun.optim.distillation.timesteps import (
    AnnealedRange,
    ConstantRange,
    SwitchedRange,
    TimestepSchedule,
    uniform_weight,
    variance_weight,
)
from forerun.optim.distillation.vsd import VSD

__all__ = [
    "SDS",
    "VSD",
    "AnnealedRange",
    "CameraConditioning",
    "Conditioning",
    "ConstantRange",
    "DirectionalPrompts",
    "DistilledModel",
    "FixedPrompt",
    "LatentSpace",
    "PictureSpace",
    "PixelSpace",
    "Prior",
    "SwitchedRange",
    "TimestepSchedule",
    "uniform_weight",
    "variance_weight",
]
