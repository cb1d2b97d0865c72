"""Dynamics of acceleration: momentum rules held against their theory, a cycle, and the flows behind them."""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.limits import AndersonMixing, LimitOptions, Plain
from forerun.limits import momentum as rules
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES: dict[str, Callable[[float, float], rules.ConstantMomentum]] = {
    "gradient descent": rules.gradient_descent,
    "Nesterov": rules.nesterov,
    "triple momentum": rules.triple_momentum,
    "heavy ball": rules.heavy_ball,
}
RULE_COLOURS = dict(zip(RULES, (IN_ORDER_COLOUR, RIVAL_COLOUR, "#5e35b1", OURS_COLOUR), strict=True))
SIZES = {"quick": (100.0, 40, 1), "full": (1000.0, 200, 5)}  # condition number, variables, first points
FLOWING = ("Nesterov", "heavy ball")
STEP_SIZES = (0.04, 0.01, 0.0025)  # of rules beside their flows
TRACE = 43  # points of heavy ball in the picture
MARKS = 24  # points of a curve in the picture
PRECISION = 1e-8


def run(scale: Scale) -> Figures:
    """Minimise a quadratic and a kinked function by every rule, and integrate their flows."""
    condition, size, seeds = SIZES[scale]
    figures: dict[str, Any] = {"condition": condition, "variables": size, "seeds": seeds}
    curvatures = torch.logspace(0, log(condition, 10), size, dtype=torch.float64)
    for name, rule in tqdm(RULES.items(), desc="rules", leave=False):
        made = rule(condition, 1.0)
        curves = [_follow_rule(made, curvatures, seed) for seed in range(seeds)]
        figures[f"steps, {name}"] = sorted(len(curve) - 1 for curve in curves)[seeds // 2]
        figures |= {
            f"curve, {name}, {mark}": curves[0][mark * (len(curves[0]) - 1) // MARKS] for mark in range(MARKS + 1)
        }
        figures[f"rate, {name}"] = made.quadratic_rate(curvatures)
    for name, method in (("Plain", Plain()), ("AndersonMixing", AndersonMixing(10))):
        descent = rules.gradient_descent(condition, 1.0)
        options = LimitOptions(method=method, tolerance=PRECISION / condition, max_evaluations=100_000)
        limit = rules.minimize(lambda x: curvatures * x, torch.ones_like(curvatures), descent, options=options)
        figures[f"evaluations, {name}"] = limit.evaluations
    return figures | _run_kinked() | _compare_flows()


def _follow_rule(rule: rules.ConstantMomentum, curvatures: Tensor, seed: int) -> list[float]:
    """Return the distances from the minimum, in shares of the first, down to the precision."""
    x0 = torch.randn(len(curvatures), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points = rules.trace_rule(rule, lambda x: curvatures * x, x0, 10_000)
    distances: list[float] = (points.norm(dim=1) / x0.norm()).tolist()
    return distances[: sum(distance > PRECISION for distance in distances) + 1]


def _run_kinked() -> dict[str, Any]:
    """Return whether each rule converges where the curvature changes, and the first points of heavy ball."""
    figures: dict[str, Any] = {}
    x0 = torch.tensor([3.3], dtype=torch.float64)
    for name, rule in RULES.items():
        limit = rules.minimize(rules.kinked_gradient, x0, rule(25.0, 1.0), tolerance=1e-10, throw=False)
        figures |= {f"period, {name}": int(limit.period), f"converged, {name}": int(limit.status.done)}
    points = rules.trace_rule(rules.heavy_ball(25.0, 1.0), rules.kinked_gradient, x0, TRACE - 1)
    return figures | {f"trace, {step}": float(point) for step, point in enumerate(points)}


def _compare_flows() -> dict[str, Any]:
    """Return how far the rules are from their flows over three units of time, and the order in the step size."""
    x0 = torch.tensor([1.0, -1.0], dtype=torch.float64)
    figures: dict[str, Any] = {}
    for name in FLOWING:
        distances = [rules.distance_to_flow(RULES[name](1 / step, 0.7), torch.sinh, x0, 3.0) for step in STEP_SIZES]
        figures |= {f"flow, {name}, {step}": value for step, value in zip(STEP_SIZES, distances, strict=True)}
        figures[f"order, {name}"] = log(distances[0] / distances[-1]) / log(STEP_SIZES[0] / STEP_SIZES[-1])
    return figures


def draw(figures: Figures) -> Figure:
    """Draw how the rules converge, heavy ball going round, and the rules beside their flows."""
    figure = new_figure(12.6, 4.0)
    curves, trace, flows = figure.subplots(1, 3)
    for name, colour in RULE_COLOURS.items():
        steps = [figures[f"steps, {name}"] * mark / MARKS for mark in range(MARKS + 1)]
        heights = [figures[f"curve, {name}, {mark}"] for mark in range(MARKS + 1)]
        curves.loglog([step + 1 for step in steps], heights, color=colour, label=name, linewidth=2)
    curves.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(curves, "A quadratic", f"distance from the minimum over steps, condition {figures['condition']:.0f}")
    points = [figures[f"trace, {step}"] for step in range(TRACE)]
    trace.plot(points, color=OURS_COLOUR, marker="o", markersize=4, linewidth=1)
    style_axes(trace, "Heavy ball goes round for ever", "points over steps, on a convex function with two kinks")
    for name in FLOWING:
        distances = [figures[f"flow, {name}, {step}"] for step in STEP_SIZES]
        flows.semilogy([str(step) for step in STEP_SIZES], distances, color=RULE_COLOURS[name], marker="o", linewidth=2)
    style_axes(flows, "Every rule follows its flow", "largest distance over the step size")
    return figure


STUDY = Study(
    number=16,
    title="Dynamics of acceleration",
    paper="arXiv 2509.18346 (2025)",
    claims=(
        Claim(
            "Nesterov's method and triple momentum converge at accelerated rates",
            paper="the rates of theory",
            here="{steps, Nesterov} and {steps, triple momentum} steps; gradient descent {steps, gradient descent}",
            holds=lambda figures: (
                max(figures["rate, Nesterov"], figures["rate, triple momentum"])
                < 1 - 1 / sqrt(figures["condition"]) + 1e-6
            ),
        ),
        Claim(
            "Heavy ball, tuned for quadratics, does not converge on every strongly convex function",
            paper="justified by its flow",
            here="a cycle of {period, heavy ball} points; the other rules converge",
            holds=lambda figures: (
                figures["period, heavy ball"] == 3
                and all(figures[f"converged, {name}"] for name in RULES if name != "heavy ball")
            ),
        ),
        Claim(
            "Each method is a discretised flow, Nesterov's with a friction along the Hessian",
            paper="derived by passivity and immersion",
            here="distances of order {order, Nesterov:.2f} and {order, heavy ball:.2f} in the step size",
            holds=lambda figures: all(figures[f"order, {name}"] > 0.9 for name in FLOWING),
        ),
        Claim(
            "Anderson mixing of gradient descent needs fewer gradients than gradient descent",
            paper="ours",
            here="{evaluations, AndersonMixing} for {evaluations, Plain}, to the same residual",
            holds=lambda figures: figures["evaluations, AndersonMixing"] < figures["evaluations, Plain"] / 4,
        ),
    ),
    run=run,
    draw=draw,
    engine="Mixing needs neither curvature bound: {evaluations, AndersonMixing} gradients for {evaluations, Plain}; a "
    "rule that knows both bounds still needs fewer, heavy ball {steps, heavy ball}.",
    deviates="The paper has no experiments: condition {condition:.0f}, {variables} variables, median of {seeds} first "
    "points, and the flows are our own expansion of the rules.",
)
