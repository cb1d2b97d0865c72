"""Templates: a signal seen many times, moved by a group and in noise; by registration, and without its bias."""

from forerun.limits.templates.estimate import (
    LikelihoodMap,
    RegistrationMap,
    TemplateLimit,
    distance_to_template,
    estimate,
    estimate_likely,
)
from forerun.limits.templates.groups import CyclicShifts, Permutations, Rotations, SignalGroup

__all__ = [
    "CyclicShifts",
    "LikelihoodMap",
    "Permutations",
    "RegistrationMap",
    "Rotations",
    "SignalGroup",
    "TemplateLimit",
    "distance_to_template",
    "estimate",
    "estimate_likely",
]
