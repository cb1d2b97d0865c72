"""Schedules by refinement: what gradient norms ask for, beside linear decay, cosine, steps and no schedule at all."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.studies.optim._logistic_runs import LogisticProblem
from forerun.studies.optim._schedule_runs import NETWORK_RATES, SCHEDULE_POINTS, compare_schedules, refine_network
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("breast_cancer", "wine", "iris", "digits", "diabetes")
TABLE_STEPS = {"quick": 300, "full": 3000}
TABLE_SEEDS = {"quick": 4, "full": 16}
TABLE_COLOURS = ("#004d40", "#00897b", "#4db6ac", "#5c6bc0", "#9575cd")
SHAPE_COLOURS = {
    "constant": IN_ORDER_COLOUR,
    "steps": "#b39ddb",
    "cosine": "#e53935",
    "schedule-free": "#5c6bc0",
    "refined": OURS_COLOUR,
}
NETWORK_STEPS = {"quick": 60, "full": 1000}
NETWORK_SEEDS = {"quick": 1, "full": 5}


def run(scale: Scale) -> Figures:
    """Train on every table by every schedule at its best rate; refine from the norms of linear decay."""
    figures: dict[str, Any] = {"steps": TABLE_STEPS[scale], "seeds": TABLE_SEEDS[scale]}
    for name in tqdm(TABLES if scale == "quick" else ("synthetic", *TABLES), desc="tables", leave=False):
        problem = LogisticProblem.random() if name == "synthetic" else LogisticProblem.from_table(name)
        figures |= compare_schedules(name, problem, TABLE_STEPS[scale], TABLE_SEEDS[scale])
    figures |= _summarise_tables(figures)
    for kind in NETWORK_RATES:
        figures |= refine_network(kind, NETWORK_STEPS[scale], NETWORK_SEEDS[scale])
    return figures


def _summarise_tables(figures: Figures) -> dict[str, float]:
    """Return ratios of excess losses over the tables, and what the refined schedules look like."""
    summary: dict[str, float] = {}
    for rival in ("constant", "linear", "cosine", "steps", "schedule-free"):
        ratios = [figures[f"excess, refined, {name}"] / figures[f"excess, {rival}, {name}"] for name in TABLES]
        summary[f"refined over {rival}, median"] = statistics.median(ratios)
        summary[f"refined over {rival}, largest"] = max(ratios)
    ratios = [figures[f"excess, linear, {name}"] / figures[f"excess, constant, {name}"] for name in TABLES]
    summary["linear over constant, largest"] = max(ratios)
    summary["tables with a warm-up"] = sum(figures[f"first share, {name}"] < 0.6 for name in TABLES)
    summary["latest share, largest"] = max(figures[f"share at 90 %, {name}"] for name in TABLES)
    ratios = [figures[f"excess, cosine, {name}"] / figures[f"excess, linear, {name}"] for name in TABLES]
    summary["cosine over linear, median"] = statistics.median(ratios)
    for number, word in ((2, "second"), (3, "third")):
        summary[f"{word} move"] = statistics.fmean(figures[f"move {number}, {name}"] for name in TABLES)
    return summary


def draw(figures: Figures) -> Figure:
    """Draw the refined schedules, and the excess loss of all schedules on every table."""
    figure = new_figure(11.0, 4.6)
    shapes, losses = figure.subplots(1, 2)
    places = [k / (SCHEDULE_POINTS - 1) for k in range(SCHEDULE_POINTS)]
    shapes.plot(places, [1 - place for place in places], color=RIVAL_COLOUR, linewidth=2.5, label="linear decay")
    for name, colour in zip(TABLES, TABLE_COLOURS, strict=True):
        shares = [figures[f"share, {name}, {k}"] for k in range(SCHEDULE_POINTS)]
        shapes.plot(places, shares, color=colour, linewidth=2, label=name.replace("_", " "))
    shapes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=8.5)
    style_axes(shapes, "What gradient norms ask for", "share of the largest rate, over the run")
    for shape, colour in SHAPE_COLOURS.items():
        ratios = [figures[f"excess, {shape}, {name}"] / figures[f"excess, linear, {name}"] for name in TABLES]
        size = 130 if shape == "refined" else 70
        losses.scatter(ratios, range(len(TABLES)), s=size, color=colour, label=shape, edgecolor="white", zorder=2)
    losses.set_yticks(range(len(TABLES)), [name.replace("_", " ") for name in TABLES])
    losses.set_xscale("log")
    losses.axvline(1, color=RIVAL_COLOUR, linewidth=1.5, zorder=1)
    losses.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=8.5)
    style_axes(losses, "Refined ties with linear decay", "loss above the smallest, over that of linear decay")
    return figure


STUDY = Study(
    number=21,
    title="Schedules by refinement",
    paper="Defazio et al., arXiv 2310.07831",
    claims=(
        Claim(
            "Linear decay is far better than a constant rate",
            paper="what theory predicts",
            here="at most {linear over constant, largest:.2f} of its excess loss on five tables",
            holds=lambda figures: figures["linear over constant, largest"] <= 0.6,
        ),
        Claim(
            "Linear decay matches or outperforms all common schedules",
            paper="overall",
            here="a cosine reaches {cosine over linear, median:.2f} of its excess loss, in the median of five tables",
            holds=lambda figures: figures["cosine over linear, median"] >= 0.97,
            stable=False,
        ),
        Claim(
            "Refined schedules exhibit warm-up and rapid annealing",
            paper="both, without being asked",
            here="a warm-up on {tables with a warm-up} of 5 tables; at 90 % of the run the rate is at most "
            "{latest share, largest:.2f} of its largest",
            holds=lambda figures: figures["tables with a warm-up"] >= 3 and figures["latest share, largest"] < 0.3,
            stable=False,
        ),
        Claim(
            "Refinement improves on linear decay",
            paper="further improvements",
            here="{refined over linear, median:.2f} times its excess loss in the median of five tables, at most "
            "{refined over linear, largest:.2f}",
            holds=lambda figures: figures["refined over linear, median"] < 1,
            stable=False,
        ),
        Claim(
            "So it does for a network",
            paper="on deep learning problems",
            here="{digits, SGD, refined:.3f} for {digits, SGD, linear:.3f} by SGD, {digits, Adam, refined:.3f} for "
            "{digits, Adam, linear:.3f} by Adam, of held-out digits",
            holds=lambda figures: all(
                figures[f"digits, {kind}, refined"] >= figures[f"digits, {kind}, linear"] for kind in NETWORK_RATES
            ),
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: refined again from its own norms a schedule moves by {second move:.3f}, then {third move:.3f} of "
    "its largest rate, in the mean, so that there is no long iteration to speed up.",
    deviates="Five tables of scikit-learn as two classes, {seeds} seeds of the batches, {steps} steps, the best of 9 "
    "rates for each schedule; a perceptron on digits. No language models. Norms are means over the seeds.",
)
