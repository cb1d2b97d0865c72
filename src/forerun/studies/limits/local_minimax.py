"""Local minimax points: where two-timescale extragradient is attracted, and descent-ascent never; with mixing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.limits import AndersonMixing, LimitOptions, Plain
from forerun.limits.extragradient import (
    PicardSteps,
    descent_ascent,
    extragradient,
    judge_stationary,
    minimax,
    step_radius,
)
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUPLING = 1.5
THRESHOLD = 1 / COUPLING**2  # of the step, as the time scale grows
STEPS = tuple(0.05 * count for count in range(1, 25))
TIMESCALE = 100.0
DEPTHS = {"descent-ascent": 1, "extragradient": 2, "proximal point": None}
DEPTH_COLOURS = (RIVAL_COLOUR, OURS_COLOUR, IN_ORDER_COLOUR)
STARTS = {"quick": 6, "full": 40}
GAME_OPTIONS = LimitOptions(tolerance=1e-7, max_evaluations=3000)


def degenerate_game(x: Tensor, y: Tensor) -> Tensor:
    """Return a game with a local minimax point at zero, where y has no curvature."""
    return (-0.5 * x * x + COUPLING * x * y).sum()


def two_wells(x: Tensor, y: Tensor) -> Tensor:
    """Return a game with two minimax points, `x = 1` and `-1`, and a stationary point at zero that is none."""
    return ((x * x - 1) ** 2 / 4 + 0.2 * x * x * y - 0.5 * y * y - 0.2 * y).sum()


def run(scale: Scale) -> Figures:
    """Measure radii over steps and time scales, limits from random points, and evaluations with and without mixing."""
    zero = torch.zeros(1, dtype=torch.float64)
    figures: dict[str, Any] = {"starts": STARTS[scale]}
    for name, depth in DEPTHS.items():
        for step in STEPS:
            rule = PicardSteps(step, TIMESCALE, depth)
            figures[f"radius, {name}, {step:.2f}"] = step_radius(degenerate_game, zero, zero, rule)
    for offset in (0.99, 1.01):
        rule = extragradient(offset * THRESHOLD, 1e4)
        figures[f"radius at {offset:.0%} of the threshold"] = step_radius(degenerate_game, zero, zero, rule) - 1
    rivals = [descent_ascent(step, timescale) for step in STEPS for timescale in (1.0, 10.0, 100.0, 1e4)]
    radii = [step_radius(degenerate_game, zero, zero, rival) for rival in rivals]
    figures["smallest radius of descent-ascent"] = min(radii)
    figures |= _count_limits(STARTS[scale])
    one = torch.ones(1, dtype=torch.float64)
    for name, method in (("extragradient", Plain()), ("with mixing", AndersonMixing(5))):
        limit = minimax(degenerate_game, one, one, extragradient(1.0, 20.0), options=GAME_OPTIONS, method=method)
        figures[f"evaluations, {name}"] = limit.evaluations
    return figures


def _count_limits(starts: int) -> dict[str, int]:
    """Return how many limits of a game with a strict saddle are local minimax points, from random points."""
    generator = torch.Generator().manual_seed(0)
    counts = {"reached": 0, "minimax": 0}
    for _ in tqdm(range(starts), desc="first points", leave=False):
        x, y = torch.randn(2, 1, generator=generator, dtype=torch.float64)
        limit = minimax(two_wells, x, y, extragradient(0.2, 2.0), options=GAME_OPTIONS, throw=False)
        counts["reached"] += limit.status.done
        counts["minimax"] += limit.verdict is not None and limit.verdict.is_local_minimax(1e-5)
    zero = torch.zeros(1, dtype=torch.float64)
    saddle = judge_stationary(two_wells, zero, zero - 0.2)
    return counts | {"saddle refused": int(saddle.slope < 1e-9 and not saddle.is_local_minimax())}


def draw(figures: Figures) -> Figure:
    """Draw the spectral radii over the step, less one, and evaluations."""
    figure = new_figure(10.4, 4.2)
    radii, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, colour in zip(DEPTHS, DEPTH_COLOURS, strict=True):
        heights = [1e3 * (figures[f"radius, {name}, {step:.2f}"] - 1) for step in STEPS]
        radii.plot(STEPS, heights, color=colour, linewidth=2.5, label=name)
    radii.axhline(0, color=INK_COLOUR, linewidth=0.8)
    radii.axvline(THRESHOLD, color=INK_COLOUR, linewidth=0.8, linestyle=":")
    radii.set_ylim(-2.5, 4)
    radii.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    subtitle = "spectral radius less one, in thousandths, over step sizes"
    style_axes(radii, "Where a point without curvature attracts", subtitle)
    names = ("extragradient", "with mixing")
    values = [figures[f"evaluations, {name}"] for name in names]
    bars.barh(names, values, color=[IN_ORDER_COLOUR, OURS_COLOUR], log=True)
    style_axes(bars, "Steps to the point", "evaluations of two gradients each")
    return figure


STUDY = Study(
    number=60,
    title="Extragradient finds local minimax points",
    paper="Chae, Kim and Kim, arXiv 2305.16242 (ICLR 2024)",
    claims=(
        Claim(
            "Two-timescale extragradient is attracted by a local minimax point without curvature",
            paper="for large time scales and steps beyond 1 / c^2",
            here="radius less one {radius at 99% of the threshold:.1e} below the threshold, "
            "{radius at 101% of the threshold:.1e} above",
            holds=lambda figures: (
                figures["radius at 99% of the threshold"] > 0 > figures["radius at 101% of the threshold"]
            ),
        ),
        Claim(
            "Descent-ascent is not, at any step and time scale",
            paper="fails",
            here="smallest radius {smallest radius of descent-ascent:.6f}",
            holds=lambda figures: figures["smallest radius of descent-ascent"] > 1,
        ),
        Claim(
            "It avoids stationary points that are not local minimax points",
            paper="almost surely",
            here="{minimax} of {reached} limits from {starts} random points pass the second-order test",
            holds=lambda figures: figures["minimax"] == figures["reached"] > 0 and figures["saddle refused"] == 1,
        ),
        Claim(
            "Mixing needs a tenth of the steps",
            paper="ours",
            here="{evaluations, with mixing} for {evaluations, extragradient}",
            holds=lambda figures: figures["evaluations, with mixing"] <= figures["evaluations, extragradient"] / 10,
        ),
    ),
    run=run,
    draw=draw,
    engine="Extragradient is two Picard steps of the proximal point's implicit step, of which descent-ascent is one; "
    "mixing takes {evaluations, with mixing} evaluations for {evaluations, extragradient} on this quadratic game.",
    deviates="Games of two numbers; the paper's conditions on the spectrum are tested as radii, not as hemicurvatures.",
)
