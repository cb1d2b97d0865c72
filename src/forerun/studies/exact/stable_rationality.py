"""Stable rationality: hypersurfaces degenerate along subdivisions of their polytope, and a sum that may forbid it."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.exact import rationality
from forerun.exact.rationality import MotivicSum
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEGREES, DIMENSIONS = range(1, 7), range(2, 6)
MAX_SIMPLICES = {"quick": 70, "full": 300}  # simplices of a triangulation; beyond, two cells alone
WORDS = {True: "not stably rational", False: "no obstruction", None: "not decided"}
PUBLISHED_CLASSES = {"degree 4 in P^4": False, "degree 4 in P^5": False}  # Colliot-Thelene and Pirutka; Totaro
SHOWN_DEGREE = 5


def run(scale: Scale) -> Figures:
    """Compute the sum for hypersurfaces of every dimension and degree, by a triangulation or by two cells."""
    figures: dict[str, Any] = {"filled": 0, "subdivisions": 0}
    for dimension, degree in tqdm(list(product(DIMENSIONS, DEGREES)), leave=False):
        points = rationality.simplex_points(dimension, degree)
        if len(points) > 260:
            continue
        small = degree**dimension <= MAX_SIMPLICES[scale]
        total = _degenerate(
            figures, points, rationality.quadratic_heights(points) if small else cut_top(points, degree)
        )
        figures[f"sum, {dimension}, {degree}"] = total.points
        figures[f"verdict, {dimension}, {degree}"] = WORDS[total.value]
    curves = [1 - (degree - 1) * (degree - 2) // 2 for degree in DEGREES]
    figures["curves"] = sum(
        figures[f"sum, 2, {degree}"] == curve for degree, curve in zip(DEGREES, curves, strict=True)
    )
    for size, name in ((4, "quintic threefold"), (5, "quintic fourfold")):
        points = rationality.simplex_points(size, 5)
        figures[name] = str(_degenerate(figures, points, cut_top(points, 5), PUBLISHED_CLASSES if size == 5 else None))
    return figures


def cut_top(points: list[tuple[int, ...]], degree: int) -> list[int]:
    """Return heights that cut a simplex of a degree into one of a degree less, and a slab of width one."""
    return [max(0, sum(point) - degree + 1) for point in points]


def _degenerate(
    figures: dict[str, Any], points: list[tuple[int, ...]], heights: list[int], facts: dict[str, bool] | None = None
) -> MotivicSum:
    subdivision = rationality.subdivide_polytope(points, heights)
    figures["subdivisions"] += 1
    figures["filled"] += sum((-1) ** size for size in subdivision.cells.values()) == (-1) ** len(points[0])
    return rationality.degeneration_sum(subdivision, facts=facts)


def draw(figures: Figures) -> Figure:
    """Draw a subdivision of a plane quintic, and the verdicts over dimension and degree."""
    figure = new_figure(11.0, 4.6)
    cells, table = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_subdivision(cells)
    colours = {WORDS[True]: OURS_COLOUR, WORDS[False]: IN_ORDER_COLOUR, WORDS[None]: RIVAL_COLOUR}
    for word, colour in colours.items():
        places = [name.split(", ")[1:] for name in figures if name.startswith("verdict") and figures[name] == word]
        table.scatter(
            [int(d) for _, d in places], [int(n) for n, _ in places], s=1000, marker="s", color=colour, label=word
        )
    for name in figures:
        if name.startswith("sum"):
            _, n, d = name.split(", ")
            table.text(
                int(d), int(n), f"{figures[name]:+d}", ha="center", va="center", color="white", fontweight="bold"
            )
    table.set(xlim=(0.4, 6.6), ylim=(5.6, 1.4), xlabel="degree")
    table.set_yticks(list(DIMENSIONS), ["curves", "surfaces", "threefolds", "fourfolds"])
    figure.legend(loc="outside lower right", ncols=3, frameon=False, labelcolor=INK_COLOUR, markerscale=0.35)
    style_axes(table, "What the sum shows", "coefficient of the class of a point; 1, and nothing else, shows nothing")
    return figure


def _draw_subdivision(axes: Axes) -> None:
    """Draw the cells of a plane quintic for random convex heights, and the points inside, which count its genus."""
    random, points = Random(2), rationality.simplex_points(2, SHOWN_DEGREE)
    heights = [6 * height + random.randint(0, 14) for height in rationality.quadratic_heights(points)]
    subdivision = rationality.subdivide_polytope(points, heights)
    for cell in subdivision.cells:
        if subdivision.cells[cell] == 1:
            axes.plot(*zip(*(points[n] for n in sorted(cell)), strict=True), color=OURS_COLOUR, linewidth=1.6)
    axes.plot([0, SHOWN_DEGREE, 0, 0], [0, 0, SHOWN_DEGREE, 0], color=INK_COLOUR, linewidth=2)
    for x, y in points:
        inside = x > 0 and y > 0 and x + y < SHOWN_DEGREE
        axes.scatter(x, y, s=70 if inside else 16, color=RIVAL_COLOUR if inside else INK_COLOUR, zorder=3)
    axes.set(aspect="equal", xticks=[], yticks=[])
    style_axes(axes, "A plane quintic, degenerated", "into lines; orange: the points that count its genus, 6")
    axes.spines[:].set_visible(False)


STUDY = Study(
    number=51,
    title="Stable rationality by degeneration",
    paper="Stable rationality of hypersurfaces in schon affine varieties (2025), after Nicaise and Ottem (2022)",
    claims=(
        Claim(
            "Subdivisions are exact: volumes add up, and the Euler characteristic is that of a ball",
            paper="ours",
            here="{filled} of {subdivisions}",
            holds=lambda figures: figures["filled"] == figures["subdivisions"],
        ),
        Claim(
            "Curves of positive genus are not stably rational",
            paper="classical",
            here="the sum is 1 - genus for {curves} of 6 degrees",
            holds=lambda figures: figures["curves"] == len(DEGREES),
        ),
        Claim(
            "Quartic surfaces are not, and nothing forbids it for cubic ones",
            paper="classical",
            here="{verdict, 3, 4}; {verdict, 3, 3}",
            holds=lambda figures: (figures["verdict, 3, 4"], figures["verdict, 3, 3"]) == (WORDS[True], WORDS[False]),
        ),
        Claim(
            "Very general quintic threefolds are not stably rational",
            paper="from a stratum of the degeneration",
            here="{quintic threefold}",
            holds=lambda figures: figures["quintic threefold"].endswith(WORDS[True]),
        ),
        Claim(
            "Quartic threefolds and quintic fourfolds",
            paper="not stably rational, by finer degenerations and published classes",
            here="{verdict, 4, 4}; {quintic fourfold}",
            holds=lambda figures: figures["quintic fourfold"].endswith(WORDS[True]),
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: there is no iteration, and a sum over cells is finite.",
    deviates="Hypersurfaces in tori alone, not in Grassmannians; one subdivision each. What is not decided here "
    "may well be known: finer degenerations decide some of it.",
)
