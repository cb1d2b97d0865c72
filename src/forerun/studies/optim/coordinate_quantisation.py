"""COMQ: weights quantised by coordinate descent on a layer's outputs, beside rounding and GPTQ."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import torch

from forerun.optim.quantization import GPTQ, CoordinateDescent, IntegerGrid, Rounding, RoundToNearest
from forerun.optim.quantization.rounding import relative_error
from forerun.studies.optim._quantised_images import compare_images, digits_sampler, pipeline_sampler
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.stored_images import read_image
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYER_WIDTH, SAMPLES = 256, 2048
LAYER_SEEDS = {"quick": 1, "full": 5}
NETWORKS = {"quick": "the digits' denoiser", "full": "the UNet of the shipped pipeline"}
ROUNDING_RULES: dict[str, Rounding] = {
    "nearest": RoundToNearest(),
    "GPTQ": GPTQ(),
    "one sweep": CoordinateDescent(1, fits_step=False),
    "fixed step": CoordinateDescent(4, fits_step=False),
    "in order": CoordinateDescent(4, greedy=False),
    "COMQ": CoordinateDescent(4),
    "COMQ after GPTQ": CoordinateDescent(4, first=GPTQ()),
}
COLOURS = {"nearest": IN_ORDER_COLOUR, "GPTQ": RIVAL_COLOUR, "COMQ": "#80cbc4", "COMQ after GPTQ": OURS_COLOUR}
SHOWN_RULES = {name: ROUNDING_RULES[name] for name in COLOURS}
BITS = (4, 3, 2)
IMAGE_BITS = 3


def run(scale: Scale) -> Figures:
    """Quantise a layer whose inputs depend on each other, then a network that samples images."""
    figures: dict[str, Any] = {"seeds": LAYER_SEEDS[scale]}
    for bits in BITS:
        layers = [_quantise_layer(bits, seed) for seed in range(LAYER_SEEDS[scale])]
        for rule in ROUNDING_RULES:
            errors = [layer[rule] for layer in layers]
            figures[f"error, {bits} bit, {rule}"] = statistics.fmean(errors)
            figures[f"spread, {bits} bit, {rule}"] = max(errors) - min(errors)
        figures[f"error, {bits} bit, all at once"] = statistics.fmean(layer["all at once"] for layer in layers)
    network, sample = digits_sampler() if scale == "quick" else pipeline_sampler()
    return figures | {"network": NETWORKS[scale]} | compare_images(network, sample, SHOWN_RULES, (4, IMAGE_BITS))


def _quantise_layer(bits: int, seed: int) -> dict[str, float]:
    """Return the relative error of a random layer's outputs for every rule."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(SAMPLES, LAYER_WIDTH // 4, generator=generator)
    inputs = sources @ torch.randn(LAYER_WIDTH // 4, LAYER_WIDTH, generator=generator) / 8
    inputs = torch.relu(inputs + 0.5 * torch.randn(SAMPLES, LAYER_WIDTH, generator=generator))
    weights = torch.randn(1, LAYER_WIDTH, LAYER_WIDTH, generator=generator) / 16
    gram, grid = (inputs.T @ inputs)[None], IntegerGrid.spanning(weights, bits, per_row=True)
    errors = {}
    for name, rule in ROUNDING_RULES.items():
        integers, fitted = rule.choose_integers(weights, gram, grid)
        errors[name] = relative_error(weights, integers * fitted.step, gram)
    values = grid.round_values(weights)
    for _ in range(4):  # every coordinate as if the others stood still
        values = grid.round_values(values + (weights - values) @ gram / gram.diagonal(dim1=1, dim2=2)[:, None])
    return errors | {"all at once": relative_error(weights, values, gram)}


def draw(figures: Figures) -> Figure:
    """Draw images of the quantised network, and errors of the layer over bits."""
    figure = new_figure(11.0, 5.0)
    grid = figure.add_gridspec(1 + len(COLOURS), 2, width_ratios=(1.15, 1))
    for place, name in enumerate(("float", *COLOURS)):
        axes = figure.add_subplot(grid[place, 0])
        axes.imshow(read_image(figures, name), interpolation="nearest")
        axes.set_axis_off()
        label = "float" if name == "float" else f"{IMAGE_BITS} bit,\n" + name.replace(" after", "\nafter")
        axes.text(-0.02, 0.5, label, transform=axes.transAxes, ha="right", va="center", fontsize=10, color=INK_COLOUR)
    axes = figure.add_subplot(grid[:, 1])
    for place, (rule, colour) in enumerate(COLOURS.items()):
        errors = [figures[f"error, {bits} bit, {rule}"] for bits in BITS]
        bars = axes.bar([k + 0.2 * place - 0.3 for k in range(len(BITS))], errors, 0.18, color=colour, label=rule)
        axes.bar_label(bars, fmt="{:.2f}", fontsize=7.5, color=INK_COLOUR)
    axes.set_xticks(range(len(BITS)), [f"{bits} bit" for bits in BITS])
    axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(axes, "Outputs of a layer move less", "relative error, 256 inputs that depend on each other")
    return figure


def _falls(figures: Figures, rule: str, rival: str, share: float = 1.0) -> bool:
    return all(figures[f"error, {bits} bit, {rule}"] <= share * figures[f"error, {bits} bit, {rival}"] for bits in BITS)


STUDY = Study(
    number=70,
    title="Quantised by coordinate descent",
    paper="Zhang et al., COMQ, arXiv 2403.07134",
    claims=(
        Claim(
            "Coordinate descent with dot products and rounding alone beats round to nearest",
            paper="4 bit with less than 1 % lost",
            here="error {error, 4 bit, nearest:.3f} to {error, 4 bit, COMQ:.3f} at 4 bit, "
            "{error, 2 bit, nearest:.2f} to {error, 2 bit, COMQ:.2f} at 2 bit",
            holds=lambda figures: _falls(figures, "COMQ", "nearest", 0.72),
        ),
        Claim(
            "A greedy order enhances the accuracy significantly",
            paper="significantly",
            here="error {error, 4 bit, COMQ:.4f} greedy, {error, 4 bit, in order:.4f} in order, at 4 bit",
            holds=lambda figures: _falls(figures, "COMQ", "in order", 0.95),
            stable=False,
        ),
        Claim(
            "It beats GPTQ",
            paper="not in the abstract",
            here="{error, 4 bit, COMQ:.4f} for {error, 4 bit, GPTQ:.4f} at 4 bit, "
            "{error, 2 bit, COMQ:.3f} for {error, 2 bit, GPTQ:.3f} at 2 bit",
            holds=lambda figures: _falls(figures, "COMQ", "GPTQ"),
            stable=False,
        ),
        Claim(
            "Begun from GPTQ's integers it beats both",
            paper="ours",
            here="{error, 4 bit, COMQ after GPTQ:.4f} at 4 bit, {error, 3 bit, COMQ after GPTQ:.4f} at 3 bit",
            holds=lambda figures: _falls(figures, "COMQ after GPTQ", "GPTQ"),
        ),
        Claim(
            "A real network's images stay nearer to those of its float weights",
            paper="ours",
            here="distance {image distance, 4 bit, nearest:.3f} to {image distance, 4 bit, COMQ after GPTQ:.3f} at "
            "4 bit ({network}), {size, 4 bit:.1f} times smaller",
            holds=lambda figures: (
                figures["image distance, 4 bit, COMQ after GPTQ"] < 0.8 * figures["image distance, 4 bit, nearest"]
            ),
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing along a sweep, whose coordinates wait for each other: all at once, the error at 4 bit is "
    "{error, 4 bit, all at once:.3g}, of round to nearest {error, 4 bit, nearest:.3g}. Rows go in one batch.",
    deviates="No ImageNet here: a random layer of 256 inputs, {seeds} seeds, and {network}. GPTQ is our own statement.",
)
