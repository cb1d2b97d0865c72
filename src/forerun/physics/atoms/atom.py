"""solve_atom: electrons in the field of a nucleus and of each other, the potential found as the limit of a map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import AndersonMixing, LimitMethod
from forerun.engine.search.limit import Limit, NoLimit
from forerun.engine.tolerance import Relative
from forerun.physics.atoms.configuration import Configuration, Subshell, check_number, ground_configuration
from forerun.physics.atoms.density_map import DensityMap, evaluate_energy
from forerun.physics.atoms.mesh import RadialMesh
from forerun.physics.atoms.radial_basis import RadialBasis
from forerun.physics.atoms.radial_levels import estimate_rounding, refine_basis

SHARE_MIXED = 0.5
POTENTIALS_MIXED = 5
POTENTIAL_TOLERANCE = 1e-10
MAX_POTENTIALS = 300


@dataclass(frozen=True)
class Atom:
    """What `solve_atom` returns. Energies are in Hartree, lengths in Bohr.

    Attributes:
        number: Z.
        configuration: who sits where.
        energy: of the whole atom.
        error_estimate: of the energy: by how much a finer and longer mesh and the last steps move it, and rounding.
        parts: kinetic, attraction, Hartree and exchange-correlation energy.
        levels: by name of the subshell.
        functions: r R(r) at the points, by name, `(E, Q)`.
        points: radii, `(E, Q)`.
        radial_density: 4 pi r^2 n(r), `(E, Q)`.
        limit: of the potential; `.evaluations` is what it cost.
    """

    number: int
    configuration: Configuration
    energy: float
    error_estimate: float
    parts: Mapping[str, float]
    levels: Mapping[str, float]
    functions: Mapping[str, Tensor]
    points: Tensor
    radial_density: Tensor
    limit: Limit

    @property
    def evaluations(self) -> int:
        """Densities that were computed on the way to the limit."""
        return self.limit.evaluations


def solve_atom(
    number: int,
    *,
    configuration: str | Configuration | None = None,
    mesh: RadialMesh | None = None,
    accuracy: float = 1e-6,
    method: LimitMethod | None = None,
    tolerance: float = POTENTIAL_TOLERANCE,
    throw: bool = True,
) -> Atom:
    """Return an atom in the local density approximation (VWN), without spin and without relativity.

    Args:
        number: Z, 1 to 118.
        configuration: such as `"[Ar] 3d6 4s2"`; left out, the published one, to uranium.
        mesh: the elements.
        accuracy: of the energy, in Hartree, which the estimate of its error is held against.
        method: how potentials are mixed.
        tolerance: of the potential, relative.
        throw: raise where the accuracy or the limit is not reached, rather than return what there is.

    Raises:
        NoLimit: the potential was not found, and `throw`.
        TypeError: Z is not whole.
        ValueError: there is no such atom, it has more electrons than its nucleus can hold, or the mesh is too coarse.
    """
    check_number(number)
    occupied = _take_configuration(number, configuration)
    mesh = mesh or RadialMesh()
    basis = RadialBasis(mesh.edges, mesh.degree)
    _check_electrons(number, occupied, basis)
    density_map = DensityMap(number, occupied, basis)
    limit = fixed_point(
        density_map,
        density_map.guess_potential(),
        method=method or AndersonMixing(POTENTIALS_MIXED, share=SHARE_MIXED),
        tolerance=Relative(tolerance),
        max_evaluations=MAX_POTENTIALS,
        repeatable=False,
        throw=False,
    )
    atom = _describe_atom(density_map, limit)
    if throw:
        _check_atom(atom, mesh, accuracy)
    return atom


def _describe_atom(density_map: DensityMap, limit: Limit) -> Atom:
    electrons, parts = evaluate_energy(density_map, limit.state)
    energy = math.fsum(parts.values())
    return Atom(
        number=density_map.number,
        configuration=density_map.configuration,
        energy=energy,
        error_estimate=_estimate_error(density_map, limit, energy),
        parts=parts,
        levels=electrons.energies,
        functions=electrons.functions,
        points=density_map.basis.points,
        radial_density=electrons.radial_density,
        limit=limit,
    )


def _estimate_error(density_map: DensityMap, limit: Limit, energy: float) -> float:
    """Return by how much the energy moves in a finer basis, by one more step, and by rounding.

    The energy is stationary in the potential, which therefore is interpolated, not found again.
    """
    basis = density_map.basis
    finer = refine_basis(basis)
    potential = density_map.configuration.electrons / finer.points
    potential[:-1] = basis.interpolate_values(limit.state, finer)
    finer_map = DensityMap(density_map.number, density_map.configuration, finer)
    on_finer = math.fsum(evaluate_energy(finer_map, potential)[1].values())
    rounding = estimate_rounding(basis) * math.sqrt(density_map.configuration.electrons)
    return abs(on_finer - energy) + _estimate_step(density_map, limit.state) + rounding


def _estimate_step(density_map: DensityMap, potential: Tensor) -> float:
    """Return what the energy lacks where the potential is not yet the limit: the second order of one more step."""
    next_potential = density_map.evaluate(potential)
    response = (
        density_map.fill_levels(next_potential).radial_density - density_map.fill_levels(potential).radial_density
    )
    return abs(float(density_map.basis.integrate_values(response * (next_potential - potential))))


def _take_configuration(number: int, configuration: str | Configuration | None) -> Configuration:
    """Return the configuration, of a text or of the tables where it is one or left out."""
    if configuration is None:
        return ground_configuration(number)
    if isinstance(configuration, str):
        return Configuration.from_text(configuration)
    return configuration


def _check_electrons(number: int, configuration: Configuration, basis: RadialBasis) -> None:
    if configuration.electrons > number + 1:
        raise ValueError(
            f"Z = {number} does not hold {configuration.electrons:g} electrons: one too many is the most; "
            f"leave configuration out, or pass one of {number}"
        )
    levels = max(map(_count_levels, configuration.subshells))
    if levels > basis.size:
        raise ValueError(
            f"the mesh is too coarse: {basis.size} functions for {levels} levels of one angular momentum; "
            "pass mesh=RadialMesh(elements=4, degree=26)"
        )


def _count_levels(subshell: Subshell) -> int:
    return subshell.principal - subshell.angular


def _check_atom(atom: Atom, mesh: RadialMesh, accuracy: float) -> None:
    highest = max(atom.levels, key=atom.levels.__getitem__)
    if not atom.levels[highest] < 0:
        raise ValueError(
            f"{highest} is not bound, at {atom.levels[highest]:.3g} Ha: Z = {atom.number} does not hold "
            f"{atom.configuration.electrons:g} electrons here; take one out, or pass throw=False to see"
        )
    if not atom.limit.status.done:
        raise NoLimit(atom.limit)
    if not atom.error_estimate <= accuracy:
        raise ValueError(
            f"the mesh is too coarse: the energy {atom.energy:.8f} Ha is known to {atom.error_estimate:.1e}, wanted to "
            f"{accuracy:.1e}; pass mesh=RadialMesh(elements={mesh.elements + 2}, degree={mesh.degree}, "
            f"radius={mesh.radius:g}) or a larger radius, or accuracy={2 * atom.error_estimate:.0e}"
        )
