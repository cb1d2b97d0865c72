"""Saddles without gradients: two-point estimates and an isotropic perturbation, in evaluations and in rounds."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from forerun.optim.difference_estimators import CoordinateDifferences, DifferenceEstimator, TwoPoint
from forerun.optim.zeroth_order import BlackBoxDescent, ZerothOrder, descend_blackbox
from forerun.studies.optim._digit_runs import digit_network, measure_accuracy, split_digits
from forerun.studies.pictures import IN_ORDER_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SADDLE_DIMENSIONS = {"quick": (10, 40), "full": (25, 100, 200)}
DIRECTION_COUNTS = (1, 5, 20)
DESCENTS = 9  # from the saddle, of which the median counts
TARGET_VALUE = -0.248  # of minima at -0.25
PERTURBATION = 0.05
EVALUATION_LIMIT = 400_000
STUCK_LIMIT = 20_000
TUNING_STEPS = {"quick": 60, "full": 1000}
DIRECTION_COLOURS = {1: "#80cbc4", 5: "#26a69a", 20: "#004d40"}


def saddle_function(points: Tensor) -> Tensor:
    """Return |x'|^2 / 2 + y^4 / 4 - y^2 / 2, with `y` the last coordinate: a saddle at zero."""
    last = points[..., -1]
    return points[..., :-1].square().sum(-1) / 2 + last.pow(4) / 4 - last.square() / 2


def run(scale: Scale) -> Figures:
    """Leave the saddle in several dimensions with several directions, and by rivals; tune a network."""
    figures: dict[str, Any] = {"dimensions": ", ".join(map(str, SADDLE_DIMENSIONS[scale])), "descents": DESCENTS}
    for size in tqdm(SADDLE_DIMENSIONS[scale], desc="dimensions", leave=False):
        for count in DIRECTION_COUNTS:
            descent = _leave_saddle(size, TwoPoint(count), count)
            figures[f"evaluations, {size}, {count}"] = float(descent.evaluations.double().median())
            figures[f"rounds, {size}, {count}"] = figures[f"evaluations, {size}, {count}"] / (2 * count)
    small, large = SADDLE_DIMENSIONS[scale][0], SADDLE_DIMENSIONS[scale][-1]
    counts = [figures[f"evaluations, {large}, {count}"] for count in DIRECTION_COUNTS]
    figures |= {"small": small, "large": large, "spread over directions": max(counts) / min(counts)}
    growth = figures[f"evaluations, {large}, 1"] / figures[f"evaluations, {small}, 1"]
    figures["exponent in the dimension"] = math.log(growth) / math.log(large / small)
    coordinates = _leave_saddle(small, CoordinateDifferences(), small)
    figures["evaluations, coordinates"] = float(coordinates.evaluations.double().median())
    stuck = _leave_saddle(small, TwoPoint(1), 1, perturbation=0.0, limit=STUCK_LIMIT)
    aside = _leave_saddle(small, TwoPoint(1), 1, perturbation=0.0, offset=1e-6)
    figures |= {"reached unperturbed": int(stuck.reached.sum()), "reached from aside": int(aside.reached.sum())}
    figures["rounds at most"], figures["rounds at least"] = (figures[f"rounds, {large}, {m}"] for m in (1, 20))
    return figures | _tune_network(TUNING_STEPS[scale])


def _leave_saddle(
    size: int,
    estimator: DifferenceEstimator,
    directions: int,
    *,
    perturbation: float = PERTURBATION,
    offset: float = 0.0,
    limit: int = EVALUATION_LIMIT,
) -> BlackBoxDescent:
    return descend_blackbox(
        saddle_function,
        torch.full((DESCENTS, size), offset, dtype=torch.float64),
        rate=0.2 * directions / (size + directions),
        estimator=estimator,
        perturbation=perturbation,
        target=TARGET_VALUE,
        max_evaluations=limit,
    )


def _tune_network(steps: int) -> dict[str, float]:
    """Return the accuracy on digits before and after steps without backpropagation."""
    network = digit_network(0)
    images, labels, _, _ = split_digits()
    optimizer = ZerothOrder(network.parameters(), lr=0.002, directions=4)
    before = measure_accuracy(network)
    generator = torch.Generator().manual_seed(0)
    batches = torch.randint(len(images), (steps, 128), generator=generator)
    for batch in batches:
        optimizer.step(partial(_measure_loss, network, images[batch], labels[batch]))
    return {"digits before": before, "digits after": measure_accuracy(network), "tuning steps": steps}


def _measure_loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(network(images), labels)


def draw(figures: Figures) -> Figure:
    """Draw evaluations and rounds over the dimension, for several numbers of directions."""
    figure = new_figure(10.4, 4.2)
    sizes = [int(word) for word in figures["dimensions"].split(", ")]
    titles = {"evaluations": ("What compute pays for", "evaluations"), "rounds": ("What wall-clock pays for", "rounds")}
    for axes, (quantity, (title, word)) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for count, colour in DIRECTION_COLOURS.items():
            values = [figures[f"{quantity}, {size}, {count}"] for size in sizes]
            axes.loglog(sizes, values, color=colour, marker="o", linewidth=2.5, label=f"{count} directions a step")
        line = [values[0] * size / sizes[0] for size in sizes]
        axes.loglog(sizes, line, color=RIVAL_COLOUR, linestyle=":", label="in proportion to the dimension")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(axis="y", color=IN_ORDER_COLOUR, alpha=0.3)
        style_axes(axes, title, f"{word} to leave a saddle, over the dimension")
    axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    return figure


STUDY = Study(
    number=52,
    title="Leaving saddles without gradients",
    paper="Ren, Tang and Li, arXiv 2209.13555",
    claims=(
        Claim(
            "Evaluations do not depend on the number of directions",
            paper="independent of m, up to d",
            here="within a factor of {spread over directions:.2f} for 1, 5 and 20 directions, {large} dimensions",
            holds=lambda figures: figures["spread over directions"] < 1.6,
        ),
        Claim(
            "They grow in proportion to the dimension",
            paper="d",
            here="as the power {exponent in the dimension:.2f} of it, from {small} to {large}",
            holds=lambda figures: 0.75 < figures["exponent in the dimension"] < 1.3,
        ),
        Claim(
            "The perturbation is what leaves the saddle",
            paper="by an isotropic perturbation",
            here="{reached unperturbed} of {descents} without it; from beside the saddle {reached from aside}",
            holds=lambda figures: figures["reached unperturbed"] == 0,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing along the descent, which is random; its calls are the ledger of this library: {rounds at most:.0f} "
    "rounds with one direction a step, {rounds at least:.0f} with 20, for about as many evaluations.",
    deviates="One saddle, {descents} descents; a perceptron on digits goes from {digits before:.2f} to "
    "{digits after:.2f} right in {tuning steps} steps without backpropagation. No language model.",
)
