"""Atoms: published energies and levels, exact levels of one electron, estimates above errors, and what is refused."""

import math

import pytest
import torch

from forerun.engine.testing import check_map
from forerun.limits import Averaged, LimitStatus, NoLimit
from forerun.physics.atoms import (
    Configuration,
    DensityMap,
    RadialBasis,
    RadialMesh,
    correlate_density,
    exchange_density,
    ground_configuration,
    solve_atom,
    solve_levels,
)
from forerun.physics.atoms.legendre import find_gauss_points, find_lobatto_points
from forerun.studies.physics._published_atoms import PUBLISHED_ENERGIES, URANIUM_ENERGY, URANIUM_LEVELS

DOUBLE = torch.float64


@pytest.mark.parametrize("number", PUBLISHED_ENERGIES)
def test_energies_are_those_of_the_tables(number):
    atom = solve_atom(number)
    assert abs(atom.energy - PUBLISHED_ENERGIES[number]) <= 5.5e-7
    assert atom.error_estimate <= 1e-7
    assert math.fsum(atom.parts.values()) == atom.energy


def test_uranium_is_exact_to_eight_digits():
    atom = solve_atom(92)
    assert abs(atom.energy - URANIUM_ENERGY) <= 2e-8
    assert atom.evaluations <= 14
    for name, energy in URANIUM_LEVELS.items():
        assert abs(atom.levels[name] - energy) <= 3e-8, name


def test_the_virial_theorem_holds():
    atom = solve_atom(18)
    basis = RadialBasis(RadialMesh().edges, 26)
    potential = DensityMap(18, atom.configuration, basis).exchange_and_correlate(atom.radial_density)[1]
    of_potential = float(basis.integrate_values(atom.radial_density * potential))
    scaled = 3 * (of_potential - atom.parts["exchange-correlation"])
    assert abs(2 * atom.parts["kinetic"] + atom.parts["attraction"] + atom.parts["Hartree"] + scaled) <= 1e-5


@pytest.mark.parametrize("number", [1, 20, 92])
@pytest.mark.parametrize("angular", [0, 1, 3])
def test_levels_of_one_electron_are_exact(number, angular):
    mesh = RadialMesh(radius=200 / number)
    levels = solve_levels(lambda radii: -number / radii, angular, 2, mesh=mesh)
    principal = torch.arange(angular + 1, angular + 3, dtype=DOUBLE)
    errors = (levels.energies + number**2 / (2 * principal**2)).abs()
    assert (errors <= 5 * levels.error_estimates).all()
    assert errors.max() <= 1e-8
    overlaps = levels.functions[:, None] * levels.functions
    basis = RadialBasis(mesh.edges, mesh.degree)
    assert torch.allclose(basis.integrate_values(overlaps), torch.eye(2, dtype=DOUBLE), atol=1e-10)


def test_levels_of_a_harmonic_well_are_exact():
    levels = solve_levels(lambda radii: radii**2 / 2, 2, 3, mesh=RadialMesh(radius=12.0, ratio=1.0))
    assert torch.allclose(levels.energies, torch.tensor([3.5, 5.5, 7.5], dtype=DOUBLE), atol=1e-9)


def test_a_mesh_that_is_too_short_for_a_level_is_reported():
    levels = solve_levels(lambda radii: -1 / radii, 0, 6)
    exact = -0.5 / 36
    assert abs(float(levels.energies[5]) - exact) > 1e-6
    assert float(levels.error_estimates[5]) > 0.3 * abs(float(levels.energies[5]) - exact)


@pytest.mark.parametrize("degree", [8, 11, 14, 18])
def test_the_estimate_is_about_the_error_on_coarse_meshes(degree):
    atom = solve_atom(92, mesh=RadialMesh(degree=degree), throw=False)
    error = abs(atom.energy - URANIUM_ENERGY)
    assert error > 1e-7
    assert 0.5 * error <= atom.error_estimate <= 50 * error


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5])
def test_the_estimate_covers_a_search_that_ends_early(tolerance):
    atom = solve_atom(92, tolerance=tolerance, throw=False)
    assert abs(atom.energy - URANIUM_ENERGY) <= 5 * atom.error_estimate


def test_coarse_and_short_meshes_are_errors():
    for mesh in (RadialMesh(degree=10), RadialMesh(elements=1), RadialMesh(radius=4.0)):
        with pytest.raises(ValueError, match=r"too coarse: the energy .* pass mesh=RadialMesh"):
            solve_atom(18, mesh=mesh)
    with pytest.raises(ValueError, match="too coarse: 1 functions for 3 levels"):
        solve_atom(18, mesh=RadialMesh(elements=1, degree=2))


@pytest.mark.parametrize("number", [0, -3, 119, 1000])
def test_atoms_that_there_are_not_are_refused(number):
    with pytest.raises(ValueError, match="from 1 to 118"):
        solve_atom(number)


@pytest.mark.parametrize("number", [6.0, "6", True])
def test_numbers_that_are_not_whole_are_refused(number):
    with pytest.raises(TypeError, match="is whole"):
        solve_atom(number)


def test_beyond_uranium_a_configuration_is_needed():
    with pytest.raises(ValueError, match="the tables end at Z = 92"):
        solve_atom(94)
    plutonium = solve_atom(94, configuration="[Rn] 5f6 7s2")
    assert plutonium.energy < URANIUM_ENERGY


def test_electrons_that_are_not_bound_are_an_error():
    with pytest.raises(ValueError, match="1s is not bound"):
        solve_atom(1, configuration="1s2")
    with pytest.raises(ValueError, match="does not hold 6 electrons"):
        solve_atom(1, configuration="1s2 2s2 2p2")


@pytest.mark.parametrize("text", ["1s3", "1p1", "[Ab] 2s1", "2s", "", "1s2 1s1", "3f2", "8s1", "1s0"])
def test_configurations_that_cannot_be_are_refused(text):
    with pytest.raises(ValueError, match=r"write '|pass '"):
        Configuration.from_text(text)


def test_configurations_hold_all_electrons():
    for number in range(1, 93):
        assert ground_configuration(number).electrons == number
    names = [subshell.name for subshell in ground_configuration(92).subshells]
    assert sorted(names) == sorted(URANIUM_LEVELS)


def test_fractions_of_electrons_give_the_slope_of_the_energy():
    """Janak's theorem: the energy changes with an occupation by the level."""
    low, high = (solve_atom(3, configuration=f"1s2 2s{electrons}").energy for electrons in (0.99, 1.01))
    assert (high - low) / 0.02 == pytest.approx(solve_atom(3).levels["2s"], abs=1e-5)


def test_every_mixing_gives_the_same_atom():
    mixed = solve_atom(10)
    damped = solve_atom(10, method=Averaged(0.4))
    assert abs(mixed.energy - damped.energy) <= 1e-8
    assert mixed.evaluations < damped.evaluations / 2
    assert mixed.limit.status is LimitStatus.CONVERGED


def test_no_limit_is_an_error():
    with pytest.raises(NoLimit):
        solve_atom(1, method=Averaged(1e-3))


def test_potentials_are_slopes_of_energies():
    density = torch.logspace(-8, 6, 29, dtype=DOUBLE).requires_grad_()
    for functional in (exchange_density, correlate_density):
        energy, potential = functional(density)
        (slope,) = torch.autograd.grad((density * energy).sum(), density)
        assert torch.allclose(slope, potential, rtol=1e-11)
    energy = correlate_density(torch.tensor([3 / (4 * math.pi)], dtype=DOUBLE))[0]
    assert float(energy) == pytest.approx(-0.0600, abs=3e-4)  # at one Bohr: the electron gas of Ceperley and Alder


def test_quadrature_is_exact():
    points, weights = find_gauss_points(12)
    for power in range(0, 24, 2):
        assert float((weights * points**power).sum()) == pytest.approx(2 / (power + 1), rel=1e-13)
    expected = torch.tensor([-1, -math.sqrt(3 / 7), 0, math.sqrt(3 / 7), 1], dtype=DOUBLE)
    assert torch.allclose(find_lobatto_points(4), expected, atol=1e-14)
    assert find_lobatto_points(2).tolist() == [-1, 0, 1]


def test_poisson_gives_the_potential_of_a_hydrogen_atom():
    basis = RadialBasis(RadialMesh().edges, 26)
    radii = basis.points
    potential = basis.solve_poisson(4 * radii**2 * torch.exp(-2 * radii))
    assert torch.allclose(potential, 1 / radii - torch.exp(-2 * radii) * (1 + 1 / radii), atol=1e-12)


def test_the_map_keeps_its_contract():
    density_map = DensityMap(10, ground_configuration(10), RadialBasis(RadialMesh(degree=14).edges, 14))
    check_map(density_map, density_map.guess_potential())


@pytest.mark.parametrize("settings", [{"elements": 0}, {"degree": 1}, {"radius": math.nan}, {"ratio": 0.0}])
def test_meshes_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="pass RadialMesh"):
        RadialMesh(**settings)


def test_potentials_and_levels_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        solve_levels(lambda radii: radii * math.inf)
    with pytest.raises(ValueError, match="103 levels"):
        solve_levels(lambda radii: -1 / radii, 0, 104)
