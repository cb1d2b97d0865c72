"""DensityMap: from the potential of the electrons to that of the density which they make in it, and its energy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.map import Map
from forerun.physics.atoms.configuration import Configuration
from forerun.physics.atoms.density_functional import correlate_density, exchange_density
from forerun.physics.atoms.radial_basis import RadialBasis

# A fit of the Thomas-Fermi function (Oulne, Appl. Math. Comput. 218, 2011), in the root of the scaled radius.
THOMAS_FERMI_ROOT = 0.7280642371
THOMAS_FERMI_LINEAR = -0.5430794693
THOMAS_FERMI_DECAY = 0.3612163121


@dataclass(frozen=True)
class Electrons:
    """The levels of all subshells in one potential, and the density that they make.

    Attributes:
        energies: by name of the subshell, in Hartree.
        functions: r R(r) at the points, by name, `(E, Q)`.
        radial_density: 4 pi r^2 n(r), `(E, Q)`.
    """

    energies: Mapping[str, float]
    functions: Mapping[str, Tensor]
    radial_density: Tensor


class DensityMap(Map):
    """A potential of the electrons to that of the density which it makes: Kohn-Sham without spin.

    The state is what the electrons add to the potential of the nucleus, Hartree and exchange-correlation, at the
    points of the basis, `(E, Q)`, in Hartree.

    Args:
        number: Z.
        configuration: who sits where.
        basis: the elements.
    """

    def __init__(self, number: int, configuration: Configuration, basis: RadialBasis) -> None:
        self.number = number
        self.configuration = configuration
        self.basis = basis
        self._attraction = basis.weigh_potential(-number / basis.points)

    def evaluate(self, state: Tensor) -> Tensor:
        density = self.fill_levels(state).radial_density
        return self.basis.solve_poisson(density) + self.exchange_and_correlate(density)[1]

    def fill_levels(self, state: Tensor) -> Electrons:
        """Return the electrons in a potential."""
        matrix = self._attraction + self.basis.weigh_potential(state)
        energies: dict[str, float] = {}
        functions: dict[str, Tensor] = {}
        density = torch.zeros_like(state)
        for angular in range(4):
            subshells = self.configuration.select_angular(angular)
            if not subshells:
                continue
            count = subshells[-1].principal - angular
            levels, waves = self.basis.diagonalise_operator(matrix, angular, count)
            for subshell in subshells:
                place = subshell.principal - angular - 1
                energies[subshell.name] = float(levels[place])
                functions[subshell.name] = waves[place]
                density += subshell.electrons * waves[place] ** 2
        return Electrons(energies, functions, density)

    def exchange_and_correlate(self, radial_density: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exchange-correlation energy of an electron and its potential, `(E, Q)` each."""
        density = radial_density / (4 * math.pi * self.basis.points**2)
        exchange, exchange_potential = exchange_density(density)
        correlation, correlation_potential = correlate_density(density)
        return exchange + correlation, exchange_potential + correlation_potential

    def guess_potential(self) -> Tensor:
        """Return the potential of the electrons in a statistical atom (Thomas and Fermi, fitted by Oulne, 2011)."""
        points = self.basis.points
        scaled = points * (128 * self.number / (9 * math.pi**2)) ** (1 / 3)
        root = scaled.sqrt()
        correction = THOMAS_FERMI_LINEAR * scaled * torch.exp(-THOMAS_FERMI_DECAY * root)
        shape = 1 + THOMAS_FERMI_ROOT * root + correction
        screening: Tensor = shape**2 * torch.exp(-2 * THOMAS_FERMI_ROOT * root)
        return self.number * (1 - screening) / points


def evaluate_energy(density_map: DensityMap, potential: Tensor) -> tuple[Electrons, dict[str, float]]:
    """Return the electrons in a potential, and the parts of the energy of their density, in Hartree."""
    basis = density_map.basis
    electrons = density_map.fill_levels(potential)
    density = electrons.radial_density
    subshells = density_map.configuration.subshells
    levels = math.fsum(subshell.electrons * electrons.energies[subshell.name] for subshell in subshells)
    attraction = basis.integrate_values(-density_map.number * density / basis.points)
    repulsion = basis.integrate_values(density * basis.solve_poisson(density)) / 2
    local, _ = density_map.exchange_and_correlate(density)
    kinetic = levels - attraction - basis.integrate_values(density * potential)
    parts = {
        "kinetic": float(kinetic),
        "attraction": float(attraction),
        "Hartree": float(repulsion),
        "exchange-correlation": float(basis.integrate_values(density * local)),
    }
    return electrons, parts
