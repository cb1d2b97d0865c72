"""Diffusion policies in receding horizon: chunks of actions, many steps at a time, with the sequential answer."""

from forerun.policy.adapters import diffusion_policy, lerobot
from forerun.policy.modes import RTI, Deadline, Exact, Mode, Warm
from forerun.policy.report import TickReport
from forerun.policy.sampler import NotFinite, Sampler
from forerun.policy.tick_solution import TickSolution

__built_on__ = ("diffusion",)

__all__ = [
    "RTI",
    "Deadline",
    "Exact",
    "Mode",
    "NotFinite",
    "Sampler",
    "TickReport",
    "TickSolution",
    "Warm",
    "diffusion_policy",
    "lerobot",
]
