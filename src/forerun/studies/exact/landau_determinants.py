"""Principal Landau determinants: where Feynman integrals can be singular, by elimination, and a test of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.exact import landau
from forerun.exact.exact_libraries import load_sympy
from forerun.exact.landau import FeynmanGraph
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXTBOOK = {  # with m for equal squared masses
    "bubble": "m1, m2, s, m1**2 - 2*m1*m2 + m2**2 - 2*m1*s - 2*m2*s + s**2",
    "triangle": "m, s, s - 4*m, s - 3*m",
    "sunrise": "m, s, s - m, s - 9*m",
}
PUBLISHED_COUNTS = {  # characteristic and volume: table 1 of arXiv 2311.16219
    "box": (15, 15), "box, massless inside": (11, 11), "box, massless outside": (11, 15), "box, massless": (3, 3),
    "banana, massless": (1, 1), "parachute, massless inside": (4, 8), "banana": (15, 35), "parachute": (19, 35),
    "parachute, massless outside": (13, 35),
}  # fmt: skip
SLOW_COUNTS = ("box", "box, massless outside", "banana", "parachute", "parachute, massless outside")


def run(scale: Scale) -> Figures:
    """Eliminate for three graphs, and count the critical points of larger ones."""
    sympy = load_sympy()
    figures: dict[str, Any] = {
        "right": 0,
        "components": 0,
        "dropping": 0,
        "strangers": 0,
        "counts": 0,
        "right counts": 0,
    }
    graphs = list_graphs()
    for name, text in tqdm(TEXTBOOK.items(), desc="graphs", leave=False):
        result = landau.find_determinant(graphs[name], test_drops=scale == "full" or name != "sunrise")
        expected = [sympy.expand(sympy.sympify(part)) for part in text.split(", ")]
        figures["right"] += {*map(sympy.expand, result.value)} == {*expected}
        tested = [component.drops for component in result.components if component.drops is not None]
        figures["components"] += len(tested)
        figures["dropping"] += sum(tested)
        figures[f"{name}, components"] = ", ".join(map(str, result.value))[:110]
        figures[f"{name}, degenerate faces"] = result.dominant
    figures["strangers"] = int(landau.drops_on_component(graphs["triangle"], sympy.sympify("s - 5*m")))
    for name, pair in PUBLISHED_COUNTS.items():
        if name in SLOW_COUNTS and scale == "quick":
            continue
        count = landau.count_critical_points(graphs[name])
        figures |= {f"characteristic, {name}": count.characteristic, f"volume, {name}": count.volume}
        figures["counts"] += 1
        figures["right counts"] += (count.characteristic, count.volume) == pair
    return figures


def list_graphs() -> dict[str, FeynmanGraph]:
    """Return the graphs of the study by name."""
    sympy = load_sympy()
    m, s, t = sympy.symbols("m s t")
    masses, legs = sympy.symbols("m1:5"), sympy.symbols("p1:5")

    def square(masses: Any, legs: Any) -> FeynmanGraph:
        channels = {frozenset({n}): leg for n, leg in enumerate(legs)} | {frozenset({0, 1}): s, frozenset({1, 2}): t}
        return landau.one_loop_graph(masses, channels)

    def parachute(masses: Any, legs: Any) -> FeynmanGraph:
        return landau.parachute_graph(masses, {frozenset({n}): leg for n, leg in enumerate(legs)})

    return {
        "bubble": landau.banana_graph(masses[:2], s),
        "triangle": landau.one_loop_graph([m] * 3, {frozenset({n}): s for n in range(3)}),
        "sunrise": landau.banana_graph([m] * 3, s),
        "box": square(masses, legs),
        "box, massless inside": square([0] * 4, legs),
        "box, massless outside": square(masses, [0] * 4),
        "box, massless": square([0] * 4, [0] * 4),
        "banana": landau.banana_graph(masses, s),
        "banana, massless": landau.banana_graph([0] * 4, s),
        "parachute": parachute(masses, legs[:3]),
        "parachute, massless inside": parachute([0] * 4, legs[:3]),
        "parachute, massless outside": parachute(masses, [0, 0, s]),
    }


def draw(figures: Figures) -> Figure:
    """Draw the singularities of the bubble in its kinematics, and characteristics beside volumes."""
    figure = new_figure(11.0, 4.4)
    plane, bars = figure.subplots(1, 2, width_ratios=[1, 1.2])
    _draw_singularities(plane)
    names = [name for name in PUBLISHED_COUNTS if f"volume, {name}" in figures]
    bars.barh(names, [figures[f"volume, {name}"] for name in names], color=IN_ORDER_COLOUR, height=0.72, label="volume")
    counts = [figures[f"characteristic, {name}"] for name in names]
    bars.barh(names, counts, color=OURS_COLOUR, height=0.4, label="Euler characteristic")
    bars.invert_yaxis()
    bars.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(bars, "Critical points, and their bound", "by a polytope: where fewer, some face is degenerate")
    return figure


def _draw_singularities(axes: Axes) -> None:
    """Draw where the bubble and the sunrise of one mass can be singular, over mass and momentum."""
    for slope, name, colour in ((4, "bubble: s = 4 m", OURS_COLOUR), (9, "sunrise: s = 9 m", RIVAL_COLOUR),
                                (1, "sunrise: s = m", "#5c6bc0"), (3, "triangle: s = 3 m", "#c2185b")):  # fmt: skip
        axes.plot([0, 1], [0, slope], color=colour, linewidth=2.5, label=name)
    axes.axhline(0, color=INK_COLOUR, linewidth=2.5)
    axes.axvline(0, color=INK_COLOUR, linewidth=2.5)
    axes.set(xlim=(-0.15, 1), ylim=(-1, 9.5), xlabel="squared mass m", ylabel="squared momentum s")
    axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="upper left", bbox_to_anchor=(0.14, 1))
    style_axes(axes, "Where integrals can be singular", "components of three graphs of one mass; black: m = 0, s = 0")


STUDY = Study(
    number=42,
    title="Principal Landau determinants",
    paper="Fevola, Mizera and Telen, arXiv 2311.16219 (2023)",
    claims=(
        Claim(
            "Elimination on the faces of the Newton polytope finds the known singularities",
            paper="bubble, triangle and sunrise as in the textbook",
            here="{right} of 3 graphs; the sunrise: {sunrise, components}",
            holds=lambda figures: figures["right"] == len(TEXTBOOK),
        ),
        Claim(
            "The Euler characteristic drops on every component, and not elsewhere",
            paper="the definition",
            here="{dropping} of {components} components; a stranger: {strangers}",
            holds=lambda figures: figures["dropping"] == figures["components"] and not figures["strangers"],
        ),
        Claim(
            "Euler characteristics and volumes of boxes, bananas and parachutes",
            paper="table 1",
            here="{right counts} of {counts} pairs",
            holds=lambda figures: figures["right counts"] == figures["counts"],
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: elimination is exact, and has no iteration.",
    deviates="Groebner bases alone, no homotopy: graphs of many parameters, such as the parachute, are counted and not "
    "eliminated. Faces whose incidence variety covers the kinematics are counted; what lies in them is left.",
)
