"""Iterations in the geometry of a Bregman divergence: operators averaged in a mirror, with noise, and their limits."""

from forerun.limits.bregman.contraction import (
    contract_towards,
    measure_contraction,
    measure_exponent,
    predict_exponent,
    predict_noise,
)
from forerun.limits.bregman.iteration import (
    MirrorLimit,
    MirrorMap,
    MirrorPath,
    MirrorSolution,
    mirror_iteration,
    mirror_limit,
    vanishing_share,
)
from forerun.limits.bregman.potentials import CustomPotential, Entropy, Potential, QuadraticPotential

__all__ = [
    "CustomPotential",
    "Entropy",
    "MirrorLimit",
    "MirrorMap",
    "MirrorPath",
    "MirrorSolution",
    "Potential",
    "QuadraticPotential",
    "contract_towards",
    "measure_contraction",
    "measure_exponent",
    "mirror_iteration",
    "mirror_limit",
    "predict_exponent",
    "predict_noise",
    "vanishing_share",
]
