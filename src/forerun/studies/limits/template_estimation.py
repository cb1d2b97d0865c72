"""Template estimation: the bias of registration in noise, its bound, and a likelihood without it."""

from __future__ import annotations

from math import sqrt
from operator import truediv
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.limits import AndersonMixing, LimitOptions, Plain, templates
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 64  # elements of a signal
NOISES = {"quick": (0.3, 1.0, 3.0, 6.0), "full": (0.1, 0.3, 1.0, 3.0, 6.0)}
COUNTS = {"quick": (6000, 1), "full": (6000, 3)}  # signals, seeds
LIKELY_NOISES = (0.3, 1.0)  # beyond these EM takes thousands of steps, and far more signals
SHOWN_NOISE = 1.0
SEARCH = LimitOptions(max_evaluations=5000, tolerance=1e-5)


def run(scale: Scale) -> Figures:
    """Estimate a box from shifted signals at several noises, by registration and by likelihood."""
    noises, (count, seeds) = NOISES[scale], COUNTS[scale]
    figures: dict[str, Any] = {"signals": count, "seeds": seeds, "noises": ", ".join(f"{noise:g}" for noise in noises)}
    for noise in tqdm(noises, desc="noises", leave=False):
        runs = [_estimate(noise, count, seed) for seed in range(seeds)]
        figures |= {f"{name}, {noise:g}": sum(run[name] for run in runs) / seeds for name in runs[0]}
    names = ("bias", "bound", "steps", "mixed steps")
    bias, bound, steps, mixed = ([figures[f"{name}, {noise:g}"] for noise in noises] for name in names)
    figures["largest bias over bound"] = max(map(truediv, bias, bound))
    figures["growth of the bias"] = bias[-1] / bias[-2]
    figures["growth of the noise"] = noises[-1] / noises[-2]
    figures["mixed over plain steps"] = sum(mixed) / sum(steps)
    return figures | _estimate_shapes(count)


def box() -> Tensor:
    """Return the template: 16 of 64 elements are one."""
    return torch.tensor([0.0] * 24 + [1.0] * 16 + [0.0] * 24, dtype=torch.float64)


def _draw_signals(noise: float, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(0, SIZE, (count, 1), generator=generator)
    moved = box()[(torch.arange(SIZE) + shifts) % SIZE]
    return moved + noise * torch.randn(count, SIZE, generator=generator, dtype=torch.float64)


def _estimate(noise: float, count: int, seed: int) -> dict[str, float]:
    """Return biases, root mean square over elements, and steps for one set of signals."""
    signals, group, truth = _draw_signals(noise, count, seed), templates.CyclicShifts(), box()
    plain = templates.estimate(signals, group, first=truth, noise=noise, options=SEARCH)
    mixed = templates.estimate(signals, group, first=truth, options=SEARCH, method=AndersonMixing(8), throw=False)
    figures = {
        "bias": templates.distance_to_template(plain.value, truth, group) / sqrt(SIZE),
        "bound": plain.bias_bound / sqrt(SIZE),
        "steps": plain.evaluations,
        "mixed steps": mixed.evaluations,
    }
    if noise not in LIKELY_NOISES:
        return figures
    for name, method in (("EM", Plain()), ("mixed EM", AndersonMixing(5))):
        likely = templates.estimate_likely(signals, group, first=plain.value, options=SEARCH, method=method)
        figures[f"{name} steps"] = likely.evaluations
        figures[f"{name} bias"] = templates.distance_to_template(likely.value, truth, group) / sqrt(SIZE)
    return figures


def _estimate_shapes(count: int) -> dict[str, float]:
    """Return the templates of the picture: both estimates at one noise, in the position of the truth."""
    signals, group = _draw_signals(SHOWN_NOISE, count, 0), templates.CyclicShifts()
    registered = templates.estimate(signals, group, first=box(), options=SEARCH).value
    likely = templates.estimate_likely(signals, group, first=registered, options=SEARCH).value
    figures: dict[str, float] = {}
    for name, template in (("registered", registered), ("likely", likely)):
        aligned = group.align_signals(template[None], box())[0].tolist()
        figures |= {f"{name}, element {place}": value for place, value in enumerate(aligned)}
    return figures


def draw(figures: Figures) -> Figure:
    """Draw the two estimates of the template, and biases over the noise."""
    figure = new_figure(11.0, 4.2)
    shapes, biases = figure.subplots(1, 2)
    shapes.step(range(SIZE), box().tolist(), color=IN_ORDER_COLOUR, linewidth=6, alpha=0.5, label="the template")
    for name, colour in (("registered", RIVAL_COLOUR), ("likely", OURS_COLOUR)):
        values = [figures[f"{name}, element {place}"] for place in range(SIZE)]
        shapes.step(range(SIZE), values, color=colour, linewidth=2, label=name)
    shapes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(shapes, "Registration follows the noise", f"estimates of a template at noise {SHOWN_NOISE:.0f}")
    noises = figures["noises"].split(", ")
    for name, colour in (("bound", IN_ORDER_COLOUR), ("bias", RIVAL_COLOUR)):
        biases.semilogy(noises, [figures[f"{name}, {noise}"] for noise in noises], color=colour, marker="o", label=name)
    likely = {f"{noise:g}": figures[f"mixed EM bias, {noise:g}"] for noise in LIKELY_NOISES}
    biases.semilogy(list(likely), list(likely.values()), color=OURS_COLOUR, marker="o", label="bias of the likelihood")
    biases.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(biases, "The bias grows with the noise", "root mean square over elements, over the noise of one")
    return figure


STUDY = Study(
    number=65,
    title="Template estimation is biased",
    paper="Devilliers, Allassonniere, Trouve and Pennec, SIAM J. Imaging Sci. 10 (2017)",
    claims=(
        Claim(
            "The mean of the quotient space is not the template",
            paper="inconsistent once the noise reaches the fold",
            here="bias {bias, 1:.3f} at noise 1, with {signals} signals",
            holds=lambda figures: figures["bias, 1"] > 2 * figures["mixed EM bias, 1"],
        ),
        Claim(
            "The bias is bounded, and linear in large noise",
            paper="lower and upper bounds",
            here="at most {largest bias over bound:.2f} of our bound; {growth of the bias:.2f} times for "
            "{growth of the noise:.2f} times the noise",
            holds=lambda figures: (
                figures["largest bias over bound"] <= 1
                and 0.75 <= figures["growth of the bias"] / figures["growth of the noise"] <= 1.5
            ),
        ),
        Claim(
            "A likelihood over all positions has no such bias",
            paper="ours",
            here="{mixed EM bias, 1:.3f} at noise 1",
            holds=lambda figures: figures["mixed EM bias, 1"] < figures["bias, 1"] / 2,
        ),
        Claim(
            "Mixing speeds up the likelihood, and not registration, whose map is piecewise constant",
            paper="ours",
            here="{mixed EM steps, 1:.0f} steps for {EM steps, 1:.0f} of EM; registration "
            "{mixed over plain steps:.2g} times its own",
            holds=lambda figures: figures["mixed EM steps, 1"] < figures["EM steps, 1"] / 2,
        ),
    ),
    run=run,
    draw=draw,
    engine="Anderson mixing takes {mixed EM steps, 1:.0f} evaluations of EM where the plain iteration takes "
    "{EM steps, 1:.0f}, to the same residual; registration it makes {mixed over plain steps:.2g} times as long.",
    deviates="Cyclic shifts of {signals} signals of 64 elements, {seeds} seeds, begun at the truth; our bound. "
    "At noise 3 and beyond the likelihood needs more signals than these.",
)
