"""Markoff-like surfaces over prime fields: their points, the orbits of the Vieta involutions, divisibility by p."""

from forerun.exact.markoff.orbits import LabelMap, OrbitPartition, find_orbits, walk_orbits
from forerun.exact.markoff.surface import MarkoffSurface, SurfacePoints, list_primes, list_surfaces

__all__ = [
    "LabelMap",
    "MarkoffSurface",
    "OrbitPartition",
    "SurfacePoints",
    "find_orbits",
    "list_primes",
    "list_surfaces",
    "walk_orbits",
]
