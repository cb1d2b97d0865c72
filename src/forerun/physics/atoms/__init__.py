"""Atoms: radial levels by finite elements of high order, and atoms in the local density approximation as limits."""

from forerun.physics.atoms.atom import Atom, solve_atom
from forerun.physics.atoms.configuration import Configuration, Subshell, ground_configuration
from forerun.physics.atoms.density_functional import correlate_density, exchange_density
from forerun.physics.atoms.density_map import DensityMap, Electrons, evaluate_energy
from forerun.physics.atoms.mesh import RadialMesh
from forerun.physics.atoms.radial_basis import RadialBasis
from forerun.physics.atoms.radial_levels import RadialLevels, solve_levels

__all__ = [
    "Atom",
    "Configuration",
    "DensityMap",
    "Electrons",
    "RadialBasis",
    "RadialLevels",
    "RadialMesh",
    "Subshell",
    "correlate_density",
    "evaluate_energy",
    "exchange_density",
    "ground_configuration",
    "solve_atom",
    "solve_levels",
]
