"""solve_levels: the lowest energies of one particle in a potential of one's own, with an estimate of their error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.physics.atoms.mesh import RadialMesh
from forerun.physics.atoms.radial_basis import RadialBasis

RadialPotential = Callable[[Tensor], Tensor]
DEGREES_ABOVE = 4  # of the finer basis that a result is held against
ROUNDING = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class RadialLevels:
    """What `solve_levels` returns.

    Attributes:
        energies: the lowest, `(count,)`, in Hartree.
        error_estimates: how far they move on a finer and longer mesh, and by rounding, `(count,)`.
        functions: r R(r), normalised, at the points, `(count, E, Q)`.
        points: radii, `(E, Q)`, in Bohr.
    """

    energies: Tensor
    error_estimates: Tensor
    functions: Tensor
    points: Tensor


def solve_levels(
    potential: RadialPotential,
    angular: int = 0,
    count: int = 1,
    *,
    mesh: RadialMesh | None = None,
) -> RadialLevels:
    """Return the lowest levels of a radial Schroedinger equation, -P'' / 2 + (l (l + 1) / (2 r^2) + V) P = e P.

    Args:
        potential: V(r) in Hartree, a function of float64 radii in Bohr, `(E, Q)`, never at r = 0.
        angular: l.
        count: of levels.
        mesh: the elements; a level that reaches farther than 50 Bohr needs a larger radius.

    Raises:
        ValueError: more levels than functions, a negative l, or a potential that is not finite.
    """
    mesh = mesh or RadialMesh()
    basis = RadialBasis(mesh.edges, mesh.degree)
    if angular < 0 or not 1 <= count <= basis.size:
        raise ValueError(
            f"angular={angular}, count={count}: l is 0 or more, and this mesh has {basis.size} levels; "
            "pass solve_levels(potential, angular=0, count=1)"
        )
    finer = refine_basis(basis)
    energies, functions = basis.diagonalise_operator(_weigh_function(potential, basis), angular, count)
    checked = finer.diagonalise_operator(_weigh_function(potential, finer), angular, count)[0]
    estimates = (energies - checked).abs() + estimate_rounding(basis)
    return RadialLevels(energies, estimates, functions, basis.points)


def refine_basis(basis: RadialBasis) -> RadialBasis:
    """Return a basis of a higher degree that goes half as far again, by one more element."""
    last = basis.edges[-1:]
    return RadialBasis(torch.cat([basis.edges, 1.5 * last]), basis.degree + DEGREES_ABOVE)


def estimate_rounding(basis: RadialBasis) -> float:
    """Return the size of the rounding of a level: that of the largest kinetic energy."""
    return ROUNDING * float(basis.kinetic.abs().amax())


def _weigh_function(potential: RadialPotential, basis: RadialBasis) -> Tensor:
    values = torch.as_tensor(potential(basis.points), dtype=torch.float64).expand_as(basis.points)
    if not values.isfinite().all():
        raise ValueError("the potential is not finite at every positive radius; pass lambda r: -1 / r or the like")
    return basis.weigh_potential(values)
