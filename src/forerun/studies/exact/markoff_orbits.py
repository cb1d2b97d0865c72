"""Markoff-like surfaces: which orbits have sizes divisible by p, and how few rounds find them all."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun.exact import markoff
from forerun.exact.markoff import MarkoffSurface, OrbitPartition, find_orbits
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRIMES = {"quick": markoff.list_primes(range(5, 48)), "full": markoff.list_primes(range(5, 200))}
SURFACES = {"quick": 3, "full": 8}  # random ones for every prime, beside Markoff's own
SCANNED_PRIMES = {"quick": (5,), "full": (5, 7, 11, 13)}  # all parameters in order are looked at
SHOWN = MarkoffSurface(31, (2, 2, 2))
ORBIT_COLOURS = (OURS_COLOUR, RIVAL_COLOUR, "#5c6bc0", "#c2185b")


def run(scale: Scale) -> Figures:
    """Find the orbits of random typical surfaces, and of all surfaces over small fields."""
    figures: dict[str, Any] = {"typical": 0, "violations": 0, "most orbits": 0, "wrong": 0, "largest prime": 0}
    rounds: dict[str, list[int]] = {"jumps": [], "layers": []}
    for prime in tqdm(PRIMES[scale], desc="primes", leave=False):
        for surface in draw_surfaces(prime, SURFACES[scale]):
            jumping = find_orbits(surface)
            figures["typical"] += 1
            figures["violations"] += not jumping.is_divisible
            figures["most orbits"] = max(figures["most orbits"], len(jumping.sizes))
            layers = markoff.walk_orbits(jumping.points)
            figures["wrong"] += not torch.equal(jumping.labels, layers.labels) or not jumping.certified
            rounds["jumps"].append(jumping.rounds)
            rounds["layers"].append(layers.rounds)
            figures[f"rounds, {prime}"] = f"{jumping.rounds} {layers.rounds}"
        figures["largest prime"] = prime
    figures |= {f"fewest {name}": min(counts) for name, counts in rounds.items()}
    figures |= {f"most {name}": max(counts) for name, counts in rounds.items()}
    return figures | _scan_parameters(SCANNED_PRIMES[scale])


def draw_surfaces(prime: int, count: int) -> list[MarkoffSurface]:
    """Return Markoff's own surface, and random typical ones."""
    random, surfaces = Random(prime), [MarkoffSurface(prime)]
    while len(surfaces) <= count:
        surface = MarkoffSurface(prime, (random.randrange(prime), random.randrange(prime), random.randrange(prime)))
        surfaces += [surface] * surface.is_typical
    return surfaces


def _scan_parameters(primes: tuple[int, ...]) -> dict[str, int]:
    """Count all surfaces with `s` not zero over small fields, by how many `a_i^2` are 4 and by Cayley's cubic."""
    counts = dict.fromkeys(("two or four", "two or four expected", "with single points", "off the cubic"), 0)
    for prime in primes:
        for surface in filter(lambda surface: surface.special_parameters, markoff.list_surfaces(prime)):
            orbits, special = find_orbits(surface), surface.special_parameters
            is_split = orbits.is_divisible and len(orbits.sizes) == (4 if special == 3 else 2)
            counts["two or four expected"] += surface.is_on_cayley_cubic
            counts["two or four"] += surface.is_on_cayley_cubic and is_split
            counts["off the cubic"] += not surface.is_on_cayley_cubic
            counts["with single points"] += not surface.is_on_cayley_cubic and orbits.fixed_points == special
    return counts


def draw(figures: Figures) -> Figure:
    """Draw the four orbits of an exceptional surface as graphs, and rounds over the prime."""
    figure = new_figure(11.0, 4.6)
    graphs, rounds = figure.subplots(1, 2, width_ratios=[1.15, 1])
    orbits = find_orbits(SHOWN)
    for place, label in enumerate(orbits.labels.unique()[1:].tolist()):
        _draw_orbit(graphs, orbits, label, place)
    graphs.set(xticks=[], yticks=[], aspect="equal")
    sizes = ", ".join(map(str, orbits.sizes))
    style_axes(
        graphs, "Four orbits where one is expected", f"a = {SHOWN.parameters}, p = {SHOWN.prime}: {sizes} points"
    )
    primes = [int(name.split()[-1]) for name in figures if name.startswith("rounds, ")]
    columns = zip(*(map(int, figures[f"rounds, {prime}"].split()) for prime in primes), strict=True)
    names = (("labels that jump", OURS_COLOUR), ("breadth first", IN_ORDER_COLOUR))
    for (name, colour), counts in zip(names, columns, strict=True):
        rounds.plot(primes, counts, color=colour, marker="o", markersize=4, label=name)
    rounds.set_ylim(bottom=0)
    rounds.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(rounds, "Rounds until every orbit is known", "over p, one random surface each")
    return figure


def _draw_orbit(axes: Axes, orbits: OrbitPartition, label: int, place: int) -> None:
    """Draw one orbit by the smallest modes of its Laplacian, an edge for each involution that moves a point."""
    rows = (orbits.labels == label).nonzero()[:, 0]
    images = torch.searchsorted(rows, orbits.points.images[:, rows])
    laplacian = 3 * torch.eye(len(rows), dtype=torch.float64)
    for image in images:
        laplacian[torch.arange(len(rows)), image] -= 1
    modes = torch.linalg.eigh(laplacian).eigenvectors[:, 1:3]
    spots = modes / modes.abs().amax(0) + 2.3 * torch.tensor([place % 2, -(place // 2)])
    for image in images:
        axes.plot(*torch.stack([spots, spots[image]]).unbind(-1), color=ORBIT_COLOURS[place], linewidth=0.3, alpha=0.5)
    axes.scatter(spots[:, 0], spots[:, 1], s=7, color=ORBIT_COLOURS[place], zorder=2)


STUDY = Study(
    number=54,
    title="Divisibility by p for Markoff-like surfaces",
    paper="de Courcy-Ireland, Litman and Mizuno, arXiv 2509.02187 (2025)",
    claims=(
        Claim(
            "Every orbit of a typical surface, apart from the origin, has a size divisible by p",
            paper="theorem 1.1",
            here="{violations} violations on {typical} surfaces, p to {largest prime}",
            holds=lambda figures: figures["violations"] == 0,
        ),
        Claim(
            "Generically there is one orbit",
            paper="expected",
            here="at most {most orbits} on a typical surface",
            holds=lambda figures: figures["most orbits"] == 1,
        ),
        Claim(
            "Special parameters, on Cayley's cubic, have two or four orbits",
            paper="at least two or four",
            here="exactly so, and divisible, on {two or four} of {two or four expected}",
            holds=lambda figures: figures["two or four"] == figures["two or four expected"] > 0,
        ),
        Claim(
            "Off the cubic, every parameter with square 4 leaves one more point alone",
            paper="ours: why the theorem asks for other squares",
            here="{with single points} of {off the cubic} surfaces",
            holds=lambda figures: figures["with single points"] == figures["off the cubic"],
        ),
        Claim(
            "Labels that jump are the orbits of a search, in few rounds",
            paper="ours",
            here="{wrong} wrong; {fewest jumps} to {most jumps} rounds, {fewest layers} to {most layers} layers",
            holds=lambda figures: figures["wrong"] == 0 and figures["most jumps"] <= 14,
        ),
    ),
    run=run,
    draw=draw,
    engine="Orbit labels are a monotone limit: {fewest jumps} to {most jumps} evaluations over all points at once, for "
    "{fewest layers} to {most layers} layers of a breadth first search.",
    deviates="Random surfaces for every prime to {largest prime}, and all parameters over the smallest fields.",
)
