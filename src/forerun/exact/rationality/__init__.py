"""Stable rationality: regular subdivisions of Newton polytopes, and the motivic obstruction of the degenerations."""

from forerun.exact.rationality.obstruction import (
    MotivicSum,
    StratumClass,
    classify_cell,
    degeneration_sum,
    quadratic_heights,
    simplex_points,
)
from forerun.exact.rationality.subdivision import RegularSubdivision, subdivide_polytope

__all__ = [
    "MotivicSum",
    "RegularSubdivision",
    "StratumClass",
    "classify_cell",
    "degeneration_sum",
    "quadratic_heights",
    "simplex_points",
    "subdivide_polytope",
]
