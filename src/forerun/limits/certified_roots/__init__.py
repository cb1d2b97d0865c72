"""Certified roots: those of polynomial systems, singular ones too, proven in ball arithmetic."""

from forerun.limits.certified_roots.alpha_balls import AlphaBalls, measure_alpha
from forerun.limits.certified_roots.certify import (
    CertifiedRoot,
    LeastSquaresStep,
    NewtonStep,
    NotCertified,
    certify,
)
from forerun.limits.certified_roots.dual_space import DualSpace, NoIsolatedRoot, find_dual_space
from forerun.limits.certified_roots.extended_system import ExtendedSystem, extend_system
from forerun.limits.certified_roots.local_algebra import LocalAlgebra, UnknownAlgebra, choose_algebra
from forerun.limits.certified_roots.polynomials import PolynomialSystem

__all__ = [
    "AlphaBalls",
    "CertifiedRoot",
    "DualSpace",
    "ExtendedSystem",
    "LeastSquaresStep",
    "LocalAlgebra",
    "NewtonStep",
    "NoIsolatedRoot",
    "NotCertified",
    "PolynomialSystem",
    "UnknownAlgebra",
    "certify",
    "choose_algebra",
    "extend_system",
    "find_dual_space",
    "measure_alpha",
]
