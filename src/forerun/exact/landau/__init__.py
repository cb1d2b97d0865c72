"""Landau analysis: Symanzik polynomials of graphs, and where in the kinematics their integrals can be singular."""

from forerun.exact.landau.determinant import LandauComponent, LandauDeterminant, find_determinant
from forerun.exact.landau.euler import EulerCount, count_critical_points, drops_on_component
from forerun.exact.landau.graphs import FeynmanGraph, banana_graph, one_loop_graph, parachute_graph

__all__ = [
    "EulerCount",
    "FeynmanGraph",
    "LandauComponent",
    "LandauDeterminant",
    "banana_graph",
    "count_critical_points",
    "drops_on_component",
    "find_determinant",
    "one_loop_graph",
    "parachute_graph",
]
