"""Incremental learning in matrix sensing: gradient descent passes by the best solution of every rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun import Secant, Sequential, Sliding
from forerun.optim.matrix_sensing import SensingPath, SensingProblem, descend
from forerun.studies.pictures import OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRIX_SIZE, MEASUREMENTS = 20, 1500
SPECTRUM = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
SCALES = {"quick": (1e-2, 1e-4, 1e-8), "full": (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-12)}
SHOWN_SCALE = 1e-8
DESCENT_STEPS, DESCENT_RATE = 2400, 0.02
AHEAD_TOLERANCE = 1e-14
CURVE_STRIDE = 16
RANK_COLOURS = {1: "#4db6ac", 2: OURS_COLOUR, 3: "#004d40"}


def run(scale: Scale) -> Figures:
    """Descend from smaller and smaller beginnings; once more ahead, and by two accelerated rivals."""
    problem = SensingProblem.draw_random(MATRIX_SIZE, SPECTRUM, MEASUREMENTS)
    minimizers = {rank: problem.find_minimizer(rank) for rank in RANK_COLOURS}
    scales = SCALES[scale]
    figures: dict[str, Any] = {"scales": ", ".join(f"{size:g}" for size in scales), "steps": DESCENT_STEPS}
    for size in tqdm(scales, desc="scales", leave=False):
        path = _descend(problem, size, method=Sequential(), check=False, witness=False)
        for rank, minimizer in minimizers.items():
            figures[f"nearest, {size:g}, rank {rank}"] = float(path.measure_distances(minimizer).min())
        if size == SHOWN_SCALE:
            truth = path
    ahead = _descend(problem, SHOWN_SCALE, method=Secant(), window=Sliding(32), tolerance=AHEAD_TOLERANCE)
    loose = _descend(problem, SHOWN_SCALE, method=Secant(), window=Sliding(32), tolerance=1e-6)
    paths = {"in order": truth.matrices, "ahead": ahead.matrices, "Nesterov": _accelerate(problem, truth)}
    for name, matrices in paths.items():
        figures |= _measure_path(name, matrices, minimizers)
    figures["rounds ahead"] = ahead.solution.rounds
    for name, run in (("ahead", ahead), ("loose", loose)):
        figures[f"deviation, {name}"] = float((run.matrices - truth.matrices).abs().max())
        figures[f"end, {name}"] = float((run.matrices[-1] - truth.matrices[-1]).abs().max())
    slim = _descend(problem, SHOWN_SCALE, rank=2, method=Sequential(), check=False, witness=False)
    figures["end of two columns"] = float(slim.measure_distances(minimizers[2])[-1])
    first, last = f"{scales[0]:g}", f"{scales[-1]:g}"
    for rank in (1, 2):
        figures |= {f"first, {rank}": figures[f"nearest, {first}, rank {rank}"]}
        figures |= {f"last, {rank}": figures[f"nearest, {last}, rank {rank}"]}
    return figures | {"largest scale": first, "smallest scale": last}


def _measure_path(name: str, matrices: Tensor, minimizers: Mapping[int, Tensor]) -> dict[str, float]:
    """Return the nearest distances of a path from the minimisers, and its distances now and then."""
    figures = {}
    for rank, minimizer in minimizers.items():
        distances = torch.linalg.matrix_norm(matrices - minimizer)
        figures[f"nearest, {name}, rank {rank}"] = float(distances.min())
        points = distances[::CURVE_STRIDE].tolist()
        figures |= {f"curve, {name}, rank {rank}, {k}": float(f"{value:.4g}") for k, value in enumerate(points)}
    return figures


def _descend(problem: SensingProblem, size: float, *, rank: int = MATRIX_SIZE, **settings: Any) -> SensingPath:
    return descend(problem, rank, scale=size, rate=DESCENT_RATE, steps=DESCENT_STEPS, **settings)


def _accelerate(problem: SensingProblem, truth: SensingPath) -> Tensor:
    """Return the matrices of Nesterov's method from the same beginning, with the same rate."""
    assert truth.solution.path is not None
    state = previous = truth.solution.path[0]
    matrices = [state @ state.T]
    for step in range(DESCENT_STEPS):
        point = state + step / (step + 3) * (state - previous)
        previous, state = state, point - DESCENT_RATE * problem.compute_gradient(point)
        matrices.append(state @ state.T)
    return torch.stack(matrices)


def draw(figures: Figures) -> Figure:
    """Draw distances from the minimisers along the path, and the nearest ones over the scale of the beginning."""
    figure = new_figure(11.0, 4.4)
    paths, nearest = figure.subplots(1, 2, width_ratios=(1.5, 1))
    count = DESCENT_STEPS // CURVE_STRIDE + 1
    places = [k * CURVE_STRIDE for k in range(count)]
    for rank, colour in RANK_COLOURS.items():
        curves = {
            name: [figures[f"curve, {name}, rank {rank}, {k}"] for k in range(count)]
            for name in ("in order", "ahead", "Nesterov")
        }
        paths.semilogy(places, curves["Nesterov"], color=RIVAL_COLOUR, linewidth=1.3, alpha=0.8)
        paths.semilogy(places, curves["in order"], color=colour, linewidth=5, alpha=0.35)
        paths.semilogy(places, curves["ahead"], color=colour, linewidth=1.8, label=f"to the best of rank {rank}, ahead")
    paths.plot([], [], color=RIVAL_COLOUR, label="by Nesterov's method")
    paths.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=8.5)
    style_axes(paths, "One rank after another", "distance from the best matrix of a rank, over steps; wide: in order")
    scales = [float(word) for word in figures["scales"].split(", ")]
    for rank, colour in list(RANK_COLOURS.items())[:2]:
        distances = [figures[f"nearest, {size:g}, rank {rank}"] for size in scales]
        nearest.loglog(scales, distances, color=colour, marker="o", linewidth=2.5, label=f"rank {rank}")
    nearest.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(nearest, "The smaller the beginning", "nearest point of the path, over the scale")
    return figure


STUDY = Study(
    number=56,
    title="One rank after another",
    paper="Jin, Li, Lyu, Du and Lee, arXiv 2301.11500",
    claims=(
        Claim(
            "From a small beginning gradient descent passes by the best solution of every rank",
            paper="for each rank, as the scale falls",
            here="rank 1 {first, 1:.2g} to {last, 1:.2g}, rank 2 {first, 2:.2g} to {last, 2:.2g}, from a scale of "
            "{largest scale} to one of {smallest scale}",
            holds=lambda figures: all(figures[f"last, {rank}"] < figures[f"first, {rank}"] / 50 for rank in (1, 2)),
        ),
        Claim(
            "With too few columns it ends at the best solution of their rank",
            paper="the under-parameterised regime, too",
            here="{end of two columns:.1g} from the best of rank 2",
            holds=lambda figures: figures["end of two columns"] < 1e-5,
        ),
        Claim(
            "The path ahead is the path, plateaus and all; momentum leaves it",
            paper="ours",
            here="nearest to rank 1 {nearest, in order, rank 1:.2g} in order, {nearest, ahead, rank 1:.2g} ahead, "
            "{nearest, Nesterov, rank 1:.2g} by Nesterov's method",
            holds=lambda figures: (
                figures["deviation, ahead"] < 1e-5
                and figures["nearest, Nesterov, rank 1"] > 20 * figures["nearest, in order, rank 1"]
            ),
        ),
    ),
    run=run,
    draw=draw,
    engine="{rounds ahead} rounds for {steps} steps with secants and 32 in flight, {deviation, ahead:.1g} from the "
    "path everywhere. A tolerance above the scale, 1e-6, shifts the plateaus in time, by {deviation, loose:.1g}.",
    deviates="20 by 20, eigenvalues 4, 2, 1 and 1500 normal measurements; best solutions of a rank by L-BFGS.",
)
