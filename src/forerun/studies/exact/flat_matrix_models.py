"""Flat matrix models: magic unitaries by alternation, which of them commute, and what quantum group they generate."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun.limits import AndersonMixing, Plain, alternating
from forerun.studies.pictures import IN_ORDER_COLOUR, LINE_COLOUR, OURS_COLOUR, draw_counts
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAGIC_SIZES = (2, 3, 4, 5, 6)
SEED_COUNTS = {"quick": 1, "full": 5}
MAGIC_METHODS = {"alternation": Plain(), "mixed": AndersonMixing(10)}
SHOWN_SIZES = (3, 4)
MOMENT_ORDERS = (1, 2, 3, 4)
CATALAN = "1, 2, 5, 14"  # moments of the free symmetric group; the classical one of four or more has 15


def run(scale: Scale) -> Figures:
    """Alternate from random vectors at all sizes up to six, and count moments."""
    seeds = SEED_COUNTS[scale]
    figures: dict[str, Any] = {"seeds": seeds, "defect": 0.0}
    for n in tqdm(MAGIC_SIZES, desc="sizes", leave=False):
        commutators = []
        for name, method in MAGIC_METHODS.items():
            models = [_find_model(n, seed, method) for seed in range(1, seeds + 1)]
            figures["defect"] = max(figures["defect"], *(model.defect for model in models))
            counts = [model.limit.evaluations for model in models if model.limit is not None]
            figures |= {f"evaluations, {n}, {name}": mean(counts), f"most evaluations, {n}, {name}": max(counts)}
            commutators += [model.commutator for model in models]
        figures |= {f"smallest commutator, {n}": min(commutators), f"largest commutator, {n}": max(commutators)}
    for n in SHOWN_SIZES:
        flat = _find_model(n, 1, MAGIC_METHODS["mixed"]).vectors.flatten(0, 1)
        for place, overlap in enumerate((flat @ flat.mH).abs().square().flatten().tolist()):
            figures[f"overlap, {n}, {place}"] = overlap
    return figures | _count_moments(scale)


def _find_model(n: int, seed: int, method: Any) -> alternating.FlatModel:
    return alternating.magic_unitary(n, generator=torch.Generator().manual_seed(seed), method=method, throw=False)


def _count_moments(scale: Scale) -> dict[str, Any]:
    """Return moments of the main character: of Pauli's model, and of alternated ones."""
    generator = torch.Generator().manual_seed(0)
    pauli = [alternating.make_pauli_model(alternating.draw_unitary(2, generator)) for _ in range(3)]
    nine = alternating.make_pauli_model(alternating.draw_unitary(3, generator))
    models = {"Pauli": pauli}
    for n in (3, 4) if scale == "quick" else (3, 4, 5):
        models[f"{n}"] = [_find_model(n, seed, MAGIC_METHODS["mixed"]) for seed in range(1, 5)]
    figures: dict[str, Any] = {"defect in closed form": max(pauli[0].defect, nine.defect)}
    for name, group in models.items():
        moments = [alternating.count_moment(group, order) for order in MOMENT_ORDERS]
        figures[f"moments, {name}"] = ", ".join(map(str, moments))
    figures["fifth moment, 3"] = alternating.count_moment(models["3"], 5)
    return figures


def draw(figures: Figures) -> Figure:
    """Draw the overlaps of all projections for three and four, and the evaluations of every size."""
    figure = new_figure(12.0, 4.2)
    *squares, counts = figure.subplots(1, 3, width_ratios=(4, 4, 5))
    titles = ("Three: classical", "Four: quantum")
    for axes, n, title in zip(squares, SHOWN_SIZES, titles, strict=True):
        _draw_overlaps(axes, figures, n)
        style_axes(axes, title, f"overlaps of the {n * n} projections")
        axes.set_xticks([])
        axes.set_yticks([])
    for name, colour in (("alternation", IN_ORDER_COLOUR), ("mixed", OURS_COLOUR)):
        draw_counts(counts, [figures[f"evaluations, {n}, {name}"] for n in MAGIC_SIZES], name, colour)
    counts.set_xscale("log")
    counts.grid(axis="y", color=LINE_COLOUR, linewidth=8, zorder=0)
    counts.set_yticks(range(len(MAGIC_SIZES)), [f"N = {n}" for n in MAGIC_SIZES])
    counts.set_ylim(len(MAGIC_SIZES) - 0.4, -0.6)
    counts.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="upper right")
    style_axes(counts, "To a magic unitary", "evaluations, mean over seeds")
    return figure


def _draw_overlaps(axes: Axes, figures: Figures, n: int) -> None:
    """Draw the squared overlaps of all pairs of vectors as a square, lines between rows of the model."""
    count = n * n
    overlaps = [[figures[f"overlap, {n}, {row * count + column}"] for column in range(count)] for row in range(count)]
    axes.imshow(overlaps, cmap="GnBu", vmin=0, vmax=1)
    for place in range(n, count, n):
        axes.axhline(place - 0.5, color="white", linewidth=2)
        axes.axvline(place - 0.5, color="white", linewidth=2)


STUDY = Study(
    number=24,
    title="Flat models of quantum permutations",
    paper="Banica and Nechita, arXiv 1602.04456 (2016)",
    claims=(
        Claim(
            "Alternation of rows and columns ends at a magic unitary, from random vectors of every size up to six",
            paper="a universal model, inspired by Sinkhorn's algorithm",
            here="largest defect {defect:.1e} over {seeds} seeds each",
            holds=lambda figures: figures["defect"] < 1e-9,
        ),
        Claim(
            "Up to three the projections commute, from four on they do not",
            paper="quantum permutations of three are classical",
            here="commutators at most {largest commutator, 3:.1e} for three, at least {smallest commutator, 4:.2f}, "
            "{smallest commutator, 5:.2f} and {smallest commutator, 6:.2f} for four, five and six",
            holds=lambda figures: figures["largest commutator, 3"] < 1e-6 < 0.1 < figures["smallest commutator, 4"],
        ),
        Claim(
            "Groups with a cocycle give models in closed form, Pauli's of four faithful",
            paper="generalised Pauli matrices",
            here="defect {defect in closed form:.1e} for four and nine; moments of Pauli's {moments, Pauli}",
            holds=lambda figures: figures["defect in closed form"] < 1e-13 and figures["moments, Pauli"] == CATALAN,
        ),
        Claim(
            "Alternated models of four have the moments of the free symmetric group",
            paper="conjectured inner faithful",
            here="{moments, 4}, where the classical group has 1, 2, 5, 15; those of three {moments, 3} and "
            "{fifth moment, 3}, as the classical one",
            holds=lambda figures: figures["moments, 4"] == CATALAN and figures["fifth moment, 3"] == 41,
        ),
        Claim(
            "Mixed, it takes at most half of the evaluations at six",
            paper="ours",
            here="{evaluations, 6, mixed:.0f} for {evaluations, 6, alternation:.0f}",
            holds=lambda figures: figures["evaluations, 6, mixed"] <= figures["evaluations, 6, alternation"] / 2,
        ),
    ),
    run=run,
    draw=draw,
    engine="Mixed, with steps that raise the distance from orthonormal rows taken back, alternation takes "
    "{evaluations, 6, mixed:.0f} evaluations for {evaluations, 6, alternation:.0f} at six; without that safeguard it "
    "may end at stationary points that are not magic.",
    deviates="Random points of the universal model, not the model itself; moments up to the order four, which show no "
    "difference from the free group but prove no faithfulness.",
)
