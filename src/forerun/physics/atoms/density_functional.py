"""The local density approximation without spin: exchange, and the correlation of Vosko, Wilk and Nusair."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Vosko, Wilk & Nusair, Can. J. Phys. 58 (1980), as the tables of NIST take them; energies in Rydberg until halved.
VWN_AMPLITUDE = 0.0621814
VWN_ROOT = -0.10498
VWN_LINEAR = 3.72744
VWN_CONSTANT = 12.9352
SMALLEST_DENSITY = 1e-80  # below which energy and potential are as good as zero


def exchange_density(density: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exchange energy of an electron and its potential, in Hartree, for densities n in Bohr^-3.

    e_x = -3 / (4 pi) (3 pi^2 n)^(1/3)
    """
    energy = -3 / (4 * math.pi) * (3 * math.pi**2 * density.clamp(min=SMALLEST_DENSITY)) ** (1 / 3)
    return energy, 4 / 3 * energy


def correlate_density(density: Tensor) -> tuple[Tensor, Tensor]:
    """Return the correlation energy of an electron and its potential, in Hartree, for densities in Bohr^-3.

    The formula is in y, the square root of the radius of a sphere with one electron.
    """
    root = (3 / (4 * math.pi * density.clamp(min=SMALLEST_DENSITY))) ** (1 / 6)
    square = _evaluate_quadratic(root)
    discriminant = math.sqrt(4 * VWN_CONSTANT - VWN_LINEAR**2)
    angle = torch.atan(discriminant / (2 * root + VWN_LINEAR))
    factor = VWN_LINEAR * VWN_ROOT / (VWN_ROOT**2 + VWN_LINEAR * VWN_ROOT + VWN_CONSTANT)
    shifted = root - VWN_ROOT
    energy = torch.log(root**2 / square) + 2 * VWN_LINEAR / discriminant * angle
    energy -= factor * torch.log(shifted**2 / square)
    energy -= factor * 2 * (VWN_LINEAR + 2 * VWN_ROOT) / discriminant * angle
    energy *= VWN_AMPLITUDE / 2
    slope = (VWN_CONSTANT * shifted - VWN_LINEAR * VWN_ROOT * root) / (shifted * square)
    return energy, energy - VWN_AMPLITUDE / 6 * slope


def _evaluate_quadratic(root: Tensor) -> Tensor:
    return root**2 + VWN_LINEAR * root + VWN_CONSTANT
