"""Schedule-free training: one run without a horizon, beside schedules that are tuned for each horizon."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.optim import ScheduleFree
from forerun.studies.optim._digit_runs import compare_with_cosine, count_rounds
from forerun.studies.optim._logistic_runs import LogisticProblem, LogisticRuns, cosine_to, linear_to, run_logistic
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HORIZONS = {"quick": (300, 1200), "full": (1000, 4000, 16000)}
ANYTIME_SEEDS = {"quick": 4, "full": 16}
ANYTIME_RATES = [0.95 * 10 ** (k / 4) for k in range(5)]
POLYAK_COLOUR, COSINE_COLOUR = "#b39ddb", "#e53935"
CURVE_POINTS = 24  # of the curve that is drawn
STEPS_AHEAD = 64
POLYAK = partial(ScheduleFree, beta=0.0)
MAKES: dict[str, Any] = {"schedule-free": ScheduleFree.sgd, "SGD": torch.optim.SGD}
DIGIT_RUNS = {"quick": ((60, 240), 1), "full": ((100, 300, 1000), 5)}  # horizons, seeds


def run(scale: Scale) -> Figures:
    """Run logistic regression by all rivals, and a network on digits by AdamW with and without a schedule."""
    problem, seeds, horizons = LogisticProblem.random(), ANYTIME_SEEDS[scale], HORIZONS[scale]
    last = horizons[-1]
    marks = {
        round(last ** (k / (CURVE_POINTS - 1)) * 20 ** (1 - k / (CURVE_POINTS - 1))) for k in range(CURVE_POINTS)
    } | {*horizons}
    figures: dict[str, Any] = {"seeds": seeds, "horizons": ", ".join(map(str, horizons))}
    anytime: dict[str, Any] = {
        "schedule-free": ScheduleFree,
        "Polyak": partial(ScheduleFree, beta=0.0),
        "constant": torch.optim.SGD,
    }
    for name, make in anytime.items():
        runs = run_logistic(problem, ANYTIME_RATES, seeds, last, make=make, checkpoints=sorted(marks))
        _add_curve(figures, name, runs, marks=sorted(marks), horizons=horizons)
    for horizon in tqdm(horizons, desc="horizons", leave=False):
        for name, shape in (("linear", linear_to(horizon)), ("cosine", cosine_to(horizon))):
            runs = run_logistic(problem, ANYTIME_RATES, seeds, horizon, schedule=shape)
            _add_point(figures, f"{name}, {horizon}", runs.excess[-1, runs.best_rate])
    for rival in ("linear", "cosine"):
        ratios = [figures[f"excess, schedule-free, {end}"] / figures[f"excess, {rival}, {end}"] for end in horizons]
        figures[f"largest ratio to {rival}"] = max(ratios)
    figures["constant over ours"] = figures[f"excess, constant, {last}"] / figures[f"excess, schedule-free, {last}"]
    return figures | {"longest": last} | compare_with_cosine(*DIGIT_RUNS[scale]) | count_rounds(MAKES, STEPS_AHEAD)


def _add_curve(
    figures: dict[str, Any], name: str, runs: LogisticRuns, *, marks: list[int], horizons: tuple[int, ...]
) -> None:
    """Add the excess loss of one rate at all marks: the one that is best over all horizons, in the geometric mean."""
    chosen = [marks.index(horizon) for horizon in horizons]
    scores = runs.excess[chosen].mean(-1).log().mean(0)
    best = int(scores.nan_to_num(torch.inf).argmin())
    for mark, excess in zip(marks, runs.excess[:, best], strict=True):
        _add_point(figures, f"{name}, {mark}", excess)


def _add_point(figures: dict[str, Any], case: str, excess: Tensor) -> None:
    figures[f"excess, {case}"] = float(excess.mean())
    figures[f"error, {case}"] = float(excess.std()) / math.sqrt(len(excess))


def draw(figures: Figures) -> Figure:
    """Draw the excess loss of one run over its steps, and of schedules at their horizons."""
    figure = new_figure(9.6, 5.0)
    axes = figure.add_subplot()
    horizons = [int(word) for word in figures["horizons"].split(", ")]
    for name, colour in (("constant", IN_ORDER_COLOUR), ("Polyak", POLYAK_COLOUR), ("schedule-free", OURS_COLOUR)):
        steps = sorted(int(key.split(", ")[2]) for key in figures if key.startswith(f"excess, {name}, "))
        excess = [figures[f"excess, {name}, {step}"] for step in steps]
        width = 3.5 if colour == OURS_COLOUR else 2
        axes.loglog(steps, excess, color=colour, linewidth=width, label=f"{name}, one run")
    for name, colour, marker in (("linear", RIVAL_COLOUR, "v"), ("cosine", COSINE_COLOUR, "o")):
        excess = [figures[f"excess, {name}, {horizon}"] for horizon in horizons]
        label = f"{name}, tuned for each horizon"
        axes.loglog(horizons, excess, color=colour, linestyle=":", marker=marker, markersize=11, label=label)
    axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=10)
    style_axes(axes, "One run, every horizon", "loss above the smallest, over steps; logistic regression, batches of 8")
    return figure


def _within_error(figures: Figures, rival: str) -> bool:
    """Return whether the one run is nowhere above a rival by more than two standard errors."""
    for horizon in figures["horizons"].split(", "):
        ours, theirs = (f"{name}, {horizon}" for name in ("schedule-free", rival))
        error = math.hypot(figures[f"error, {ours}"], figures[f"error, {theirs}"])
        if figures[f"excess, {ours}"] > figures[f"excess, {theirs}"] + 2 * error:
            return False
    return True


STUDY = Study(
    number=46,
    title="The road less scheduled",
    paper="Defazio et al., Schedule-Free, arXiv 2405.15682",
    claims=(
        Claim(
            "One run without a horizon is on or below tuned linear decay, within two standard errors",
            paper="state of the art without a stopping time",
            here="at most {largest ratio to linear:.2f} times the excess loss of linear decay, up to {longest} steps",
            holds=lambda figures: _within_error(figures, "linear"),
        ),
        Claim(
            "It is on or below cosine decay, too",
            paper="matches or outperforms",
            here="at most {largest ratio to cosine:.2f} times its excess loss",
            holds=lambda figures: _within_error(figures, "cosine"),
            stable=False,
        ),
        Claim(
            "A constant rate is greatly outperformed",
            paper="greatly",
            here="{constant over ours:.1f} times the excess loss at the last step",
            holds=lambda figures: figures["constant over ours"] > 2,
        ),
        Claim(
            "A network on digits learns as well as by Adam with a cosine",
            paper="on deep learning problems",
            here="{free:.3f} for {cosine:.3f} of held-out digits after {digit steps} steps",
            holds=lambda figures: figures["free"] >= figures["cosine"] - 0.005,
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="It runs ahead more easily than SGD: {rounds, schedule-free} rounds for {steps ahead} steps on digits in "
    "windows of 8, where SGD of the same rate takes {rounds, SGD}.",
    deviates="Logistic regression of 2000 samples and 50 features, {seeds} seeds of the batches; a small network on "
    "scikit-learn's digits. No language models or images here.",
)
