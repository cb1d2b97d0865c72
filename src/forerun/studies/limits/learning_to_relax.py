"""Learning to relax: relaxation parameters learnt from iteration counts, over shifted systems and moving heat."""

from __future__ import annotations

from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# points of the square each way, systems, seeds; points each way and steps of heat; problems of the engine's own
STREAM_SIZES = {"quick": (6, 500, 1, 8, 60, 2), "full": (10, 2000, 2, 16, 200, 24)}
SHIFT_SHAPES = {"steady": (2.0, 6.0), "varied": (0.5, 1.5)}  # of the Beta distributions of the shifts
SHIFT_BOUNDS = (-0.15, 0.45)
HEAT_OMEGAS = (1.0, 1.2, 1.4, 1.6, 1.8)
LEARNER_COLOURS = {"Tsallis-INF": RIVAL_COLOUR, "contextual": OURS_COLOUR}
STREAM_MARKS = 20  # points of a curve in the picture


def run(scale: Scale) -> Figures:
    """Price all relaxation parameters for all systems, and let learners choose among them, seeing their own alone."""
    from forerun.limits.relaxation import SOR_OMEGAS, build_laplacian, count_sor_sweeps, draw_shifts

    side, systems, seeds, heat_side, heat_steps, problems = STREAM_SIZES[scale]
    figures: dict[str, Any] = {"unknowns": side**2, "systems": systems, "seeds": seeds, "heat steps": heat_steps}
    laplacian = build_laplacian(side)
    for name, shape in tqdm(SHIFT_SHAPES.items(), desc="streams", leave=False):
        shifts = draw_shifts(systems, shape, 0)
        rights = np.random.default_rng(1).standard_normal((systems, side**2))
        columns = [count_sor_sweeps(laplacian, shifts, rights, omega=omega) for omega in SOR_OMEGAS]
        costs = np.stack(columns, 1)
        figures |= _learn_table(name, costs, shifts, bounds=SHIFT_BOUNDS, seeds=seeds)
        figures[f"best omega, {name}"] = SOR_OMEGAS[costs.sum(0).argmin()]
    return figures | _learn_heat(heat_side, heat_steps, seeds) | _tune_engine(problems, seeds)


def _learn_table(name: str, costs: Any, contexts: Any, *, bounds: tuple[float, float], seeds: int) -> dict[str, float]:
    """Return what learners come to, beside fixed settings and the best of every problem."""
    from forerun.limits.relaxation import ChebyshevBandit, TsallisInf, replay_costs

    best, best_alone = float(costs.sum(0).min()), float(costs.min(1).sum())
    places = np.unique(np.geomspace(10, len(costs), STREAM_MARKS).astype(int)) - 1
    figures = {f"best fixed, {name}": best, f"best of each, {name}": best_alone}
    curves = {f"fixed {place}": column for place, column in enumerate(costs.T)}
    for learner_name, learner in (("Tsallis-INF", TsallisInf()), ("contextual", ChebyshevBandit(*bounds))):
        runs = [replay_costs(learner, costs, contexts=contexts, seed=seed) for seed in range(seeds)]
        shares = [stream.total_cost / best for stream in runs]
        figures |= {f"share, {learner_name}, {name}": mean(shares), f"spread, {learner_name}, {name}": pstdev(shares)}
        figures[f"of each, {learner_name}, {name}"] = mean(shares) * best / best_alone
        figures[f"third, {learner_name}, {name}"] = mean(shares) * best / float(costs[:, 0].sum())
        curves[learner_name] = np.array([choice.cost for choice in runs[0].choices])
    for curve, column in curves.items():
        means = (np.cumsum(column) / np.arange(1, len(column) + 1))[places].tolist()
        figures |= {f"{curve}, {name}, {mark}": value for mark, value in enumerate(means)}
    return figures | {f"place, {name}, {mark}": int(place) + 1 for mark, place in enumerate(places)}


def _learn_heat(side: int, steps: int, seeds: int) -> dict[str, float]:
    """Return what learners come to on implicit steps of heat, by conjugate gradients preconditioned by SSOR."""
    from forerun.limits.relaxation import HeatStream, SsorCg

    stream, solver = list(HeatStream(side, steps)), SsorCg()
    rows = [[solver.solve_system(*system[:2], omega).iterations for omega in HEAT_OMEGAS] for system in stream]
    contexts = np.array([system[2] for system in stream])
    return _learn_table("heat", np.array(rows), contexts, bounds=(0.05, 1.05), seeds=seeds)


def _tune_engine(problems: int, seeds: int) -> dict[str, float]:
    """Return what the same learner comes to on the memory of Anderson mixing, and on windows of paths."""
    from forerun.limits.relaxation import TsallisInf, replay_costs
    from forerun.studies.limits._tuned_engine import PRICED_MEMORIES, PRICED_WINDOWS, price_memories, price_windows

    figures: dict[str, float] = {"problems": problems}
    experiments = (("memory", PRICED_MEMORIES, price_memories), ("window", PRICED_WINDOWS, price_windows))
    for name, settings, price in experiments:
        costs = price(problems)
        totals = costs.sum(0)
        shares = [replay_costs(TsallisInf(), costs, seed=seed).total_cost / totals.min() for seed in range(seeds)]
        figures |= {f"share, {name}": mean(shares), f"worst, {name}": totals.max() / totals.min()}
        figures |= {f"best, {name}": settings[totals.argmin()], f"any, {name}": totals.mean() / totals.min()}
    return figures


def draw(figures: Figures) -> Figure:
    """Draw the mean iterations of a system so far, for fixed parameters and for learners."""
    figure = new_figure(12.6, 4.0)
    titles = {"steady": "Shifts that vary little", "varied": "Shifts that vary", "heat": "Heat that moves"}
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        marks = [int(key.rsplit(", ", 1)[1]) for key in figures if key.startswith(f"place, {name}, ")]
        places = [figures[f"place, {name}, {mark}"] for mark in marks]
        for place in range(len(HEAT_OMEGAS)):
            heights = [figures[f"fixed {place}, {name}, {mark}"] for mark in marks]
            label = "fixed" if not place else None
            axes.semilogx(places, heights, color=IN_ORDER_COLOUR, linewidth=1.5, alpha=0.4 + 0.1 * place, label=label)
        for learner, colour in LEARNER_COLOURS.items():
            heights = [figures[f"{learner}, {name}, {mark}"] for mark in marks]
            axes.semilogx(places, heights, color=colour, linewidth=3, label=learner)
        axes.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="upper right")
        style_axes(axes, title, "mean iterations so far, over systems")
    return figure


STUDY = Study(
    number=11,
    title="Learning to relax",
    paper="Khodak, Chow, Balcan and Talwalkar, arXiv 2310.02246 (ICLR 2024)",
    claims=(
        Claim(
            "From iteration counts alone, a bandit approaches the best fixed parameter",
            paper="regret that vanishes",
            here="{share, Tsallis-INF, steady:.3f} +- {spread, Tsallis-INF, steady:.3f} times its iterations; "
            "{share, Tsallis-INF, varied:.3f} +- {spread, Tsallis-INF, varied:.3f} where shifts vary",
            holds=lambda figures: max(figures[f"share, Tsallis-INF, {name}"] for name in SHIFT_SHAPES) <= 1.5,
        ),
        Claim(
            "It needs a fraction of the iterations of no relaxation",
            paper="ours, at most a third of omega = 1",
            here="{third, Tsallis-INF, steady:.2f} and {third, Tsallis-INF, varied:.2f} of them",
            holds=lambda figures: max(figures[f"third, Tsallis-INF, {name}"] for name in SHIFT_SHAPES) <= 1 / 3,
            stable=False,
        ),
        Claim(
            "With the shift as a context it approaches the best parameter of every system",
            paper="the instance-optimal policy, asymptotically",
            here="{of each, contextual, varied:.3f} times its iterations; {share, contextual, varied:.3f} of the best "
            "fixed",
            holds=lambda figures: figures["of each, contextual, varied"] <= 1.1,
            stable=False,
        ),
        Claim(
            "Heat whose coefficient moves, SSOR-CG: near the best fixed parameter",
            paper="end to end",
            here="{share, Tsallis-INF, heat:.3f} of its iterations, with the coefficient {share, contextual, heat:.3f}",
            holds=lambda figures: figures["share, Tsallis-INF, heat"] <= 1.15,
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="The same bandit on settings of our own, {problems} problems: memory of mixing {share, memory:.2f} of the "
    "best ({best, memory}), any memory {any, memory:.2f}; windows {share, window:.2f}, any {any, window:.2f}.",
    deviates="A Laplacian of {unknowns} unknowns, {systems} systems, {seeds} seeds; the shifts are ours.",
)
