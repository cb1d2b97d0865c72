"""Infeasibility detection: the displacement of a map without a fixed point, and verdicts on a hundred programs."""

from __future__ import annotations

from collections.abc import Callable
from math import log10
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun.limits import Averaged, Halpern, LimitMethod, Plain
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# rotated planes, points of a curve, seeds of it, programs of a kind, variables of a program
SCALE_SIZES = {"quick": (100, 300, 1, 2, 10), "full": (1000, 1000, 5, 20, 20)}
FOLLOWED_METHODS: dict[str, LimitMethod] = {"plain": Plain(), "Halpern": Halpern(restart=0)}
PROGRAM_SOLVERS = ("Halpern", "averaged", "PDHG, Halpern", "OSQP", "SCS")
PROGRAM_SOLVER_COLOURS = dict(
    zip(PROGRAM_SOLVERS, (OURS_COLOUR, IN_ORDER_COLOUR, "#5e35b1", RIVAL_COLOUR, "#c2185b"), strict=True)
)
SHORT, LONG = 1500, 20_000  # evaluations that averaged iterations may take, and anchored ones
CURVE_MARKS, SLOPE_BEGIN = 24, 30  # points of a curve in the picture, and the first of those that its slope is taken of


def run(scale: Scale) -> Figures:
    """Follow displacements of an averaged rotation with a shift, and decide random programs by several solvers."""
    from forerun.limits.infeasibility import ShiftedRotation, measure_slope, trace_displacement

    planes, points, seeds, count, variables = SCALE_SIZES[scale]
    figures: dict[str, Any] = {"dimensions": 2 * planes, "points": points, "seeds": seeds, "variables": variables}
    rotations = [ShiftedRotation.draw(planes, seed) for seed in range(seeds)]
    for name, method in FOLLOWED_METHODS.items():
        curves = []
        for seed, rotation in enumerate(rotations):
            start = torch.randn(planes, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            curves.append(trace_displacement(rotation, start, method, points, displacement=rotation.shift))
        for column, quantity in enumerate(("residual", "travel")):
            slopes = [measure_slope(curve[:, column], SLOPE_BEGIN) for curve in curves]
            figures |= {f"slope, {quantity}, {name}": mean(slopes), f"spread, {quantity}, {name}": pstdev(slopes)}
        places = torch.logspace(0, log10(points - 1), CURVE_MARKS).long().tolist()
        figures |= {f"{name}, point {mark}": float(curves[0][place, 0]) for mark, place in enumerate(places)}
    return figures | _decide_programs(count, variables)


def _decide_programs(count: int, variables: int) -> dict[str, Any]:
    """Return how many verdicts of each solver are right, after how many iterations, and what its rays prove."""
    from forerun.limits.infeasibility import DouglasRachford, PrimalDual, ProgramKind, draw_program
    from forerun.studies.limits import _program_rivals as rivals

    solvers: dict[str, Callable[[Any], rivals.Answer]] = {
        "Halpern": lambda program: rivals.ask_ours(program, DouglasRachford, Halpern(), LONG),
        "averaged": lambda program: rivals.ask_ours(program, DouglasRachford, Averaged(0.5), SHORT),
        "PDHG, Halpern": lambda program: rivals.ask_ours(program, PrimalDual, Halpern(), LONG),
        "OSQP": rivals.ask_osqp,
        "SCS": rivals.ask_scs,
    }
    drawn = [(kind, seed, bool(seed % 2)) for kind in ProgramKind for seed in range(count)]
    programs = [draw_program(kind, seed, variables=variables, is_quadratic=bent) for kind, seed, bent in drawn]
    figures: dict[str, Any] = {"programs": len(programs), "short": SHORT}
    for name, ask in tqdm(solvers.items(), desc="solvers", leave=False):
        summary = rivals.summarise_answers(programs, [ask(program) for program in programs], missing=LONG)
        figures |= {f"{quantity}, {name}": number for quantity, number in summary.items()}
    return figures


def draw(figures: Figures) -> Figure:
    """Draw the displacements settling, and how many programs are decided after how many iterations."""
    figure = new_figure(11.6, 4.2)
    rates, profile = figure.subplots(1, 2)
    points = torch.logspace(0, log10(figures["points"] - 1), CURVE_MARKS).tolist()
    for name, colour in (("plain", RIVAL_COLOUR), ("Halpern", OURS_COLOUR)):
        heights = [figures[f"{name}, point {mark}"] for mark in range(CURVE_MARKS)]
        label = f"{name}, slope {figures[f'slope, residual, {name}']:.2f}"
        rates.loglog(points, heights, color=colour, linewidth=2.5, marker="o", markersize=4, label=label)
    rates.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(rates, "Where nothing is fixed", "squared distance of the residual from the displacement, over points")
    for name, colour in PROGRAM_SOLVER_COLOURS.items():
        right = figures[f"right, {name}"]
        costs = [figures[f"decided {place}, {name}"] for place in range(right)]
        shares = [100 * (place + 1) / figures["programs"] for place in range(right)]
        profile.step(costs, shares, where="post", color=colour, linewidth=2.5, label=name)
    profile.set_xscale("log")
    profile.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="lower right")
    style_axes(profile, "Programs decided", f"per cent of {figures['programs']}, over iterations; infeasible ones too")
    return figure


STUDY = Study(
    number=8,
    title="Accelerated infeasibility detection",
    paper="Park and Ryu, arXiv 2303.15876 (ICML 2023)",
    claims=(
        Claim(
            "Anchored, the residual goes to the infimal displacement like 1/k^2, squared",
            paper="O(1/k^2), up to logarithms",
            here="slope {slope, residual, Halpern:.2f} +- {spread, residual, Halpern:.2f}",
            holds=lambda figures: -2.2 <= figures["slope, residual, Halpern"] <= -1.8,
        ),
        Claim(
            "Plain, it does so like 1/k at worst; the normalised travel like 1/k^2 in both",
            paper="O(1/k) and O(1/k^2)",
            here="slope {slope, residual, plain:.2f} +- {spread, residual, plain:.2f}; travel "
            "{slope, travel, plain:.2f} plain and {slope, travel, Halpern:.2f} anchored",
            holds=lambda figures: (
                -1.7 <= figures["slope, residual, plain"] <= -0.9
                and max(figures["slope, travel, plain"], figures["slope, travel, Halpern"]) <= -1.8
            ),
        ),
        Claim(
            "Verdicts on programs are those of HiGHS, and every ray holds in exact arithmetic",
            paper="ours",
            here="{right, Halpern} of {programs} right; nothing feasible below "
            "{radius, Halpern:.1e}, by rays of OSQP below {radius, OSQP:.1e}",
            holds=lambda figures: figures["programs"] == figures["right, Halpern"] and figures["radius, Halpern"] > 1e9,
        ),
        Claim(
            "Polished on the way, they come in fewer iterations than those of OSQP and SCS",
            paper="ours",
            here="median {median, Halpern:.0f}; OSQP {median, OSQP:.0f} ({right, OSQP} right), SCS {median, SCS:.0f}",
            holds=lambda figures: figures["median, Halpern"] < min(figures["median, OSQP"], figures["median, SCS"]),
        ),
        Claim(
            "On programs, too, anchors decide sooner than averaging",
            paper="ours; the theory is of the worst case",
            here="median {median, Halpern:.0f} for {median, averaged:.0f}, {right, averaged} decided in {short}",
            holds=lambda figures: figures["median, Halpern"] < figures["median, averaged"],
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Anchors settle the displacement of a rotation as k^-2; of programs, whose rays are polished, they decide "
    "{right, Halpern} in a median of {median, Halpern:.0f} evaluations, averaging {right, averaged} in as many.",
    deviates="The paper has no programs: random ones of {variables} variables, half of them quadratic; the rotation "
    "has {dimensions} dimensions. Looks at every twentieth point for us, every 25th for OSQP and SCS.",
)
