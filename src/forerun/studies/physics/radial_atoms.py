"""Radial atoms: hydrogen to uranium by finite elements of high order, self-consistent by damping and by mixing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.limits import AndersonMixing, Averaged, LimitMethod
from forerun.physics.atoms import Atom, RadialMesh, solve_atom, solve_levels
from forerun.studies.physics._published_atoms import PUBLISHED_ENERGIES, URANIUM, URANIUM_ENERGY, URANIUM_LEVELS
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ATOMS_SOLVED = {"quick": (2, URANIUM), "full": tuple(range(1, URANIUM + 1))}
MIXINGS: dict[str, LimitMethod] = {
    "damped 30 %": Averaged(0.3),
    "damped 50 %": Averaged(0.5),
    "mixed": AndersonMixing(5, share=0.5),
}
MIXING_COLOURS = dict(zip(MIXINGS, (IN_ORDER_COLOUR, RIVAL_COLOUR, OURS_COLOUR), strict=True))
MIXING_TOLERANCE = 1e-8
SHELL_COLOURS = ("#1a237e", "#3949ab", "#1e88e5", "#00acc1", "#43a047", "#fdd835", "#fb8c00")
HYDROGEN_RADIUS = 200.0  # for one proton
SHOWN_MESH = RadialMesh(elements=9, degree=14, ratio=2000.0)
SHOWN_RADII = slice(None, None, 2)


def run(scale: Scale) -> Figures:
    """Solve atoms against the published energies, and uranium by every mixing."""
    figures: dict[str, Any] = {"atoms": len(ATOMS_SOLVED[scale]), "hydrogen-like error": _measure_hydrogen()}
    atoms = {number: solve_atom(number) for number in tqdm(ATOMS_SOLVED[scale], desc="atoms", leave=False)}
    figures |= {f"energy, {number}": round(atom.energy, 8) for number, atom in atoms.items()}
    published = PUBLISHED_ENERGIES.keys() & atoms.keys()
    figures["atoms compared"] = len(published)
    figures["error of light"] = max(abs(atoms[number].energy - PUBLISHED_ENERGIES[number]) for number in published)
    figures["largest estimate"] = max(atom.error_estimate for atom in atoms.values())
    figures["most evaluations"] = max(atom.evaluations for atom in atoms.values())
    uranium = atoms[URANIUM]
    figures["error of uranium"] = abs(uranium.energy - URANIUM_ENERGY)
    errors = [abs(uranium.levels[name] - energy) for name, energy in URANIUM_LEVELS.items()]
    figures["error of levels"] = max(errors)
    for name, method in MIXINGS.items():
        limit = solve_atom(URANIUM, method=method, tolerance=MIXING_TOLERANCE).limit
        figures[f"evaluations, {name}"] = limit.evaluations
        figures |= {f"residual, {name}, {step}": float(size) for step, size in enumerate(limit.residuals)}
    return figures | _sample_shells(solve_atom(URANIUM, mesh=SHOWN_MESH, throw=False))


def _measure_hydrogen() -> float:
    """Return the largest relative error of the levels of one electron, at both ends of the table."""
    errors = []
    for number in (1, URANIUM):
        for angular in (0, 1, 2, 3):
            mesh = RadialMesh(radius=HYDROGEN_RADIUS / number)
            levels = solve_levels(lambda radii, number=number: -number / radii, angular, 2, mesh=mesh)  # type: ignore[misc]
            principal = torch.arange(angular + 1, angular + 3, dtype=torch.float64)
            errors.append(float((levels.energies / (-(number**2) / (2 * principal**2)) - 1).abs().max()))
    return max(errors)


def _sample_shells(atom: Atom) -> dict[str, float]:
    """Return the electrons of every shell by logarithm of the radius, at some radii."""
    radii = atom.points.flatten()[SHOWN_RADII]
    figures = {f"radius, {place}": _shorten(radius) for place, radius in enumerate(radii)}
    for shell in range(1, len(SHELL_COLOURS) + 1):
        density = torch.zeros_like(atom.points)
        for subshell in atom.configuration.subshells:
            if subshell.principal == shell:
                density += subshell.electrons * atom.functions[subshell.name] ** 2
        values = density.flatten()[SHOWN_RADII] * radii
        figures |= {f"shell {shell}, {place}": _shorten(value) for place, value in enumerate(values)}
    return figures


def _shorten(value: Tensor) -> float:
    return float(f"{float(value):.4g}")


def draw(figures: Figures) -> Figure:
    """Draw the shells of uranium, and the residual over evaluations."""
    figure = new_figure(11.5, 4.4)
    shells, residuals = figure.subplots(1, 2, width_ratios=(1.35, 1))
    count = sum(name.startswith("radius, ") for name in figures)
    radii = [figures[f"radius, {place}"] for place in range(count)]
    for shell, colour in enumerate(SHELL_COLOURS, 1):
        heights = [figures[f"shell {shell}, {place}"] for place in range(count)]
        shells.fill_between(radii, heights, color=colour, alpha=0.3, linewidth=0)
        shells.semilogx(radii, heights, color=colour, linewidth=2.2, label=f"n = {shell}")
    shells.set_xlim(1.5e-3, 15)
    shells.set_ylim(0)
    shells.legend(frameon=False, ncols=2, loc="upper left")
    for name, colour in MIXING_COLOURS.items():
        curve = [figures[f"residual, {name}, {step}"] for step in range(figures[f"evaluations, {name}"])]
        residuals.semilogy(range(1, len(curve) + 1), curve, color=colour, linewidth=3, label=name)
    residuals.legend(frameon=False)
    style_axes(shells, "The shells of uranium", "electrons by logarithm of the radius in Bohr")
    style_axes(residuals, "To self-consistency", "relative residual of the potential, over evaluations")
    return figure


STUDY = Study(
    number=68,
    title="Radial atoms",
    paper="Certik, Pask et al., featom, arXiv 2307.05856 (2023)",
    claims=(
        Claim(
            "Uranium by 103 functions of four elements",
            paper="to 1e-8 Ha: -25658.4178888534",
            here="{energy, 92:.8f} Ha, off by {error of uranium:.0e}; levels by at most {error of levels:.0e}",
            holds=lambda figures: math.hypot(figures["error of uranium"], figures["error of levels"]) <= 1e-7,
        ),
        Claim(
            "Energies agree with the tables of NIST",
            paper="all atoms to Z = 92",
            here="{atoms} atoms solved, {atoms compared} besides uranium compared, to {error of light:.0e} Ha: the "
            "table's rounding is 5e-7; largest estimate {largest estimate:.0e} Ha",
            holds=lambda figures: figures["error of light"] <= 5.5e-7 and figures["largest estimate"] <= 1e-6,
        ),
        Claim(
            "Levels of one electron are exact",
            paper="to machine precision, nearly",
            here="relative error at most {hydrogen-like error:.0e}, Z = 1 and 92",
            holds=lambda figures: figures["hydrogen-like error"] <= 1e-8,
        ),
        Claim(
            "Mixing reaches self-consistency sooner than damping",
            paper="periodic Pulay mixing; ours",
            here="{evaluations, mixed} evaluations for uranium; damped {evaluations, damped 30 %} and "
            "{evaluations, damped 50 %}",
            holds=lambda figures: figures["evaluations, mixed"] <= 14,
        ),
    ),
    run=run,
    draw=draw,
    engine="Anderson mixing takes {evaluations, mixed} evaluations for uranium; damping by 0.3 and 0.5 "
    "{evaluations, damped 30 %} and {evaluations, damped 50 %}.",
    deviates="Without relativity: the Dirac equation and its functional are not here. Anderson mixing for periodic "
    "Pulay; the potential of the electrons from cumulative integrals for a Poisson basis. Of the tables, "
    "{atoms compared} energies besides uranium's were at hand.",
)
