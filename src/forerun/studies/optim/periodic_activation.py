"""Snake: what networks make of a periodic function beyond their data, by activation."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from forerun.optim.nn import Snake
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIDDEN_UNITS = 512
SNAKE_FREQUENCY = 20.0
FITTING_STEPS = {"quick": 400, "full": 3000}
PERIODIC_SEEDS = {"quick": 1, "full": 2}
DATA_END, TEST_END = 1.0, 2.0  # data up to here, tested from here to there
WAVE_NUMBER = 10.0  # of the sine in these units: ten units a period and a half
CURVE_PLACES = 161
ACTIVATIONS = ("ReLU", "tanh", "snake, fixed", "snake, learnt")
ACTIVATION_COLOURS = {"ReLU": IN_ORDER_COLOUR, "tanh": RIVAL_COLOUR, "snake, learnt": OURS_COLOUR}


def run(scale: Scale) -> Figures:
    """Fit a sine inside, by every activation, and measure it outside."""
    figures: dict[str, Any] = {"seeds": PERIODIC_SEEDS[scale], "steps": FITTING_STEPS[scale]}
    for name in tqdm(ACTIVATIONS, desc="activations", leave=False):
        errors: list[tuple[float, float]] = []
        for seed in range(PERIODIC_SEEDS[scale]):
            network = _fit_network(name, seed, FITTING_STEPS[scale])
            errors.append((_measure_error(network, 0, DATA_END), _measure_error(network, DATA_END, TEST_END)))
        figures[f"inside, {name}"], figures[f"outside, {name}"] = map(statistics.fmean, zip(*errors, strict=True))
        curve = network(_places(TEST_END, CURVE_PLACES)).detach().flatten().tolist()
        figures |= {f"curve, {name}, {k}": round(value, 4) for k, value in enumerate(curve)}
    return figures


def make_activation(name: str) -> nn.Module:
    """Return the activation of a name."""
    if name == "ReLU":
        return nn.ReLU()
    if name == "tanh":
        return nn.Tanh()
    return Snake(SNAKE_FREQUENCY, features=HIDDEN_UNITS, learnable=name == "snake, learnt")


def _places(end: float, count: int) -> Tensor:
    return torch.linspace(-end, end, count).unsqueeze(-1)


def _fit_network(name: str, seed: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(1, HIDDEN_UNITS), make_activation(name), nn.Linear(HIDDEN_UNITS, 1))
    inputs = _places(DATA_END, 128)
    target = torch.sin(WAVE_NUMBER * inputs)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(inputs) - target).square().mean().backward()
        optimizer.step()
    return network


@torch.no_grad()
def _measure_error(network: nn.Module, begin: float, end: float) -> float:
    """Return the mean square error where |x| lies between two places."""
    inputs = _places(end, 801)
    inputs = inputs[inputs.abs().flatten() >= begin]
    return float((network(inputs) - torch.sin(WAVE_NUMBER * inputs)).square().mean())


def draw(figures: Figures) -> Figure:
    """Draw what networks make of a sine, inside of their data and outside."""
    figure = new_figure(10.4, 4.0)
    axes = figure.add_subplot()
    places = _places(TEST_END, CURVE_PLACES).flatten()
    axes.axvspan(-DATA_END, DATA_END, color="#eceff1", zorder=0)
    axes.plot(places, torch.sin(WAVE_NUMBER * places), color=INK_COLOUR, linewidth=6, alpha=0.15, label="the function")
    for name, colour in ACTIVATION_COLOURS.items():
        curve = [figures[f"curve, {name}, {k}"] for k in range(CURVE_PLACES)]
        axes.plot(places, curve, color=colour, linewidth=2, label=name)
    axes.set_ylim(-3, 3)
    axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="lower left", ncols=4)
    style_axes(axes, "A period goes on", "networks fitted to a sine on the grey part")
    return figure


STUDY = Study(
    number=55,
    title="Networks that learn a period",
    paper="Ziyin, Hartwig and Ueda, arXiv 2006.08195",
    claims=(
        Claim(
            "Standard activations fail to extrapolate a periodic function",
            paper="ReLU and tanh, proved and shown",
            here="mean square error outside {outside, ReLU:.2g} by ReLU and {outside, tanh:.2g} by tanh; that of "
            "zero is 0.5",
            holds=lambda figures: min(figures["outside, ReLU"], figures["outside, tanh"]) > 0.4,
        ),
        Claim(
            "Snake extrapolates it",
            paper="as the authors run it, a = 20",
            here="{outside, snake, fixed:.2g} with fixed frequencies, {outside, snake, learnt:.2g} learnt",
            holds=lambda figures: min(figures["outside, snake, fixed"], figures["outside, snake, learnt"]) < 0.1,
            stable=False,
        ),
        Claim(
            "It is optimised as easily as ReLU",
            paper="a favourable optimisation property",
            here="error inside {inside, snake, learnt:.2g} for {inside, ReLU:.2g}",
            holds=lambda figures: figures["inside, snake, learnt"] <= figures["inside, ReLU"],
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: ordinary training, where running ahead rarely pays.",
    deviates="A sine alone, {seeds} seeds and {steps} steps; no temperatures, market index, CO2 or sunspots.",
)
