"""Iterate to accelerate: the averaged iteration with vanishing shares, its exponent, its noise, and what is faster."""

from __future__ import annotations

from math import log10
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

import forerun
from forerun.limits import AndersonMixing, AutoMixing, ContractiveHalpern, LimitMethod, Plain, bregman
from forerun.studies.limits._decision_process import draw_values
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES_AVERAGED = {"quick": (200, 1, 100), "full": (3000, 5, 500)}  # steps, seeds, states of a decision process
CONTRACTION_COLOURS = {30: "#004d40", 50: OURS_COLOUR, 70: RIVAL_COLOUR, 90: "#c2185b"}  # contractions in per cent
POTENTIALS = {"quadratic": bregman.QuadraticPotential(), "entropy": bregman.Entropy()}
DISCOUNT = 0.99
METHOD_NAMES = ("plain", "anchored", "AndersonMixing", "AutoMixing")
METHODS_BESIDE: tuple[LimitMethod, ...] = (Plain(), ContractiveHalpern(DISCOUNT), AndersonMixing(5), AutoMixing())
NOISE, NOISY_SIZE = 0.01, 400  # of a step, and elements of the state that it is added to
DIVERGENCE_POINTS = 24


def run(scale: Scale) -> Figures:
    """Average contractions in two mirrors, with and without noise; and solve a decision process."""
    steps, seeds, states = SIZES_AVERAGED[scale]
    figures: dict[str, Any] = {"steps": steps, "seeds": seeds, "states": states, "largest miss": 0.0}
    cases = [(name, rate) for name in POTENTIALS for rate in CONTRACTION_COLOURS]
    for name, rate in tqdm(cases, desc="contractions", leave=False):
        curves = [_follow_scheme(POTENTIALS[name], rate / 100, steps, seed) for seed in range(seeds)]
        exponent = mean(bregman.measure_exponent(curve, steps // 2) for curve in curves)
        miss = abs(exponent - bregman.predict_exponent(rate / 100))
        figures |= {f"exponent, {name}, {rate}": exponent, "largest miss": max(figures["largest miss"], miss)}
        heights = curves[0][torch.logspace(0, log10(steps), DIVERGENCE_POINTS).long()].tolist()
        figures |= {f"curve, {name}, {rate}, {mark}": height for mark, height in enumerate(heights)}
    return figures | _add_noise(steps, seeds) | _decide_values(states, steps) | _run_ahead(steps)


def _follow_scheme(potential: bregman.Potential, rate: float, steps: int, seed: int) -> Tensor:
    """Return the divergences of the scheme from the limit, `(steps + 1,)`, from the middle of the simplex."""
    target = torch.rand(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.2
    target = target / target.sum()
    operator = bregman.contract_towards(target, rate, potential)
    points = bregman.mirror_iteration(operator, torch.full_like(target, 1 / 3), potential, steps=steps).points
    return potential.measure_divergence(target.expand_as(points), points)


def _add_noise(steps: int, seeds: int) -> dict[str, float]:
    """Return how squared errors of a contraction by a half grow under noise that stays."""
    x0, potential = torch.zeros(NOISY_SIZE, dtype=torch.float64), POTENTIALS["quadratic"]
    paths = [
        bregman.mirror_iteration(lambda x: x / 2, x0, potential, steps=steps, noise=NOISE, seed=seed).points
        for seed in range(seeds)
    ]
    errors = torch.stack(paths).square().mean((0, 2))
    figures = {"noisy error": float(errors[-1]), "early noisy error": float(errors[steps // 10])}
    return figures | {"noisy theory": bregman.predict_noise(0.5, NOISE, steps)}


def _decide_values(states: int, steps: int) -> dict[str, float]:
    """Return evaluations of value iteration by several methods, and the residual that the scheme leaves."""
    improve, first = draw_values(states, DISCOUNT, 0), torch.zeros(states, dtype=torch.float64)
    figures: dict[str, float] = {}
    for name, method in zip(METHOD_NAMES, METHODS_BESIDE, strict=True):
        limit = forerun.fixed_point(improve, first, method=method, tolerance=1e-8, max_evaluations=20_000)
        figures[f"evaluations, {name}"] = limit.evaluations
    values = bregman.mirror_iteration(improve, first, POTENTIALS["quadratic"], steps=steps).value
    return figures | {"scheme residual": float((improve(values) - values).abs().max())}


def _run_ahead(steps: int) -> dict[str, float]:
    """Return the rounds of the scheme run ahead of itself on the simplex, and its deviation."""
    scores = torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mirror = bregman.MirrorPath(lambda x: (scores @ x).softmax(-1), POTENTIALS["entropy"], steps)
    first = torch.zeros(20, dtype=torch.float64)
    in_order = forerun.solve(mirror, first, method=forerun.Sequential())
    solution = forerun.solve(mirror, first, method=forerun.Secant(), window=64, tolerance=1e-8)
    return {"rounds": len(solution.log), "deviation": float((solution.state - in_order.state).abs().max())}


def draw(figures: Figures) -> Figure:
    """Draw divergences over steps by contraction, and what value iteration costs."""
    figure = new_figure(11.6, 4.2)
    curves, bars = figure.subplots(1, 2)
    steps = torch.logspace(0, log10(figures["steps"]), DIVERGENCE_POINTS).long().tolist()
    for rate, colour in CONTRACTION_COLOURS.items():
        heights = [figures[f"curve, entropy, {rate}, {mark}"] for mark in range(DIVERGENCE_POINTS)]
        label = f"contraction {rate / 100:g}: $t^{{{figures[f'exponent, entropy, {rate}']:.2f}}}$"
        curves.loglog(steps, heights, color=colour, linewidth=2.5, marker="o", markersize=3, label=label)
    claimed = [figures["curve, entropy, 90, 0"] * step**-2.0 for step in steps]
    curves.loglog(steps, claimed, color=IN_ORDER_COLOUR, linewidth=6, alpha=0.4, label="claimed: $t^{-2}$", zorder=0)
    curves.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(curves, "The exponent is the contraction's", "divergence from the limit over steps, on the simplex")
    counts = [figures[f"evaluations, {name}"] for name in METHOD_NAMES]
    for bar in bars.barh(METHOD_NAMES, counts, color=(IN_ORDER_COLOUR, RIVAL_COLOUR, OURS_COLOUR, OURS_COLOUR)):
        bars.text(bar.get_width() * 1.05, bar.get_y() + 0.4, f"{bar.get_width():.0f}", va="center", color=INK_COLOUR)
    bars.set(xscale="log", xlim=(8, 4 * max(counts)))
    bars.invert_yaxis()
    style_axes(bars, "What does accelerate", f"evaluations of value iteration, {figures['states']} states, 0.99")
    return figure


STUDY = Study(
    number=13,
    title="Iterate to accelerate",
    paper="arXiv 2502.03787 (2025)",
    claims=(
        Claim(
            "Averaged with vanishing shares, the divergence from the limit is O(1/t^2) for every contraction",
            paper="O(1/t^2)",
            here="t^{exponent, entropy, 30:.2f} for a contraction by 0.3, t^{exponent, entropy, 50:.2f} by 0.5, but "
            "t^{exponent, entropy, 70:.2f} by 0.7 and t^{exponent, entropy, 90:.2f} by 0.9",
            holds=lambda figures: max(figures[f"exponent, entropy, {rate}"] for rate in CONTRACTION_COLOURS) <= -1.9,
            stable=False,
        ),
        Claim(
            "Its exponent is -4 (1 - g), so that the claim holds for contractions by at most 1/2",
            paper="ours",
            here="within {largest miss:.3f}, for both potentials",
            holds=lambda figures: figures["largest miss"] <= 0.05,
        ),
        Claim(
            "Under persistent perturbations errors do not fall",
            paper="excluded",
            here="they grow like t: {noisy error:.2e} after {steps} steps, {noisy theory:.2e} by our formula",
            holds=lambda figures: figures["noisy error"] > 5 * figures["early noisy error"],
        ),
        Claim(
            "What does accelerate it is mixing; an anchor that is optimal for the worst case does not",
            paper="ours",
            here="{evaluations, plain} evaluations plain, {evaluations, AndersonMixing} mixed, {evaluations, anchored} "
            "anchored; {steps} steps of the scheme leave a residual of {scheme residual:.2g}",
            holds=lambda figures: figures["evaluations, AutoMixing"] < figures["evaluations, plain"] / 20,
        ),
    ),
    run=run,
    draw=draw,
    engine="The scheme is a path: {steps} steps in {rounds} rounds, ahead of itself, deviation {deviation:.1e}. Mixing "
    "takes {evaluations, AndersonMixing} evaluations to a limit where the plain iteration takes {evaluations, plain}.",
    deviates="The paper has no experiments. Which shares it takes we could not read: 2 / (t + 2) are the usual ones.",
)
