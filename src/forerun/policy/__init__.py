"""Diffusion policies in receding horizon: chunks of actions, sampled ahead of order, with the sequential answer."""

from forerun.policy.adapters import diffusion_policy, lerobot
from forerun.policy.modes import RTI, Deadline, Exact, Mode, Warm
from forerun.policy.report import Report
from forerun.policy.sampler import NotFinite, Sampler

__built_on__ = ("diffusion",)

__all__ = [
    "RTI",
    "Deadline",
    "Exact",
    "Mode",
    "NotFinite",
    "Report",
    "Sampler",
    "Warm",
    "diffusion_policy",
    "lerobot",
]
