"""Learned preconditioners: a factor from a graph network against incomplete ones, in iterations and in time."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun.limits.preconditioner import LowerPattern, TriangularFactor, factorise_incompletely
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes
from forerun.worlds.conductivity import draw_diffusion_matrix, load_preconditioner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# size and contrast; the first is what was trained on, among contrasts from 0 to 2
FAMILIES = {"as trained": (32, 1.0), "contrast 2": (32, 2.0), "contrast 3": (32, 3.0), "64 x 64": (64, 1.0)}
UNSEEN = {"quick": 2, "full": 10}  # matrices of a family, with seeds from the first one
UNSEEN_SEED, CG_TOLERANCE, MODIFIED_SHARE = 10_000, 1e-10, 0.97
SWEEPS = (0, 1, 2, 3, 4, 6, 10)
SOLVERS = ("Jacobi", "IC(0)", "modified IC(0)", "learned", "multigrid")
SOLVER_COLOURS = dict(zip(SOLVERS, ("#b0bec5", IN_ORDER_COLOUR, RIVAL_COLOUR, OURS_COLOUR, "#5e35b1"), strict=True))


def run(scale: Scale) -> Figures:
    """Solve unseen systems with every preconditioner, of the sizes and contrasts of training and of others."""
    figures: dict[str, Any] = {"matrices": UNSEEN[scale]}
    for family, (size, contrast) in tqdm(FAMILIES.items(), desc="families", leave=False):
        runs = []
        for seed in range(UNSEEN[scale]):
            matrix = draw_diffusion_matrix(UNSEEN_SEED + seed, size=size, contrast=contrast)
            runs.append(solve_system(matrix, seed, with_sweeps=family == "as trained"))
        for name in runs[0]:
            values = torch.tensor([run[name] for run in runs], dtype=torch.float64)
            figures[f"{name}, {family}"] = float(values.mean())
            figures[f"spread, {name}, {family}"] = float(values.std(correction=0))
        figures[f"saved, {family}"] = 1 - figures[f"learned, {family}"] / figures[f"IC(0), {family}"]
    return figures


def solve_system(matrix: Any, seed: int, *, with_sweeps: bool) -> dict[str, float]:
    """Return iterations by preconditioner, and milliseconds of its making and of the solution."""
    import pyamg  # type: ignore[import-untyped]
    from scipy.sparse import diags_array

    learned = load_preconditioner()
    factorisations: dict[str, Callable[[], TriangularFactor]] = {
        "IC(0)": lambda: factorise_incompletely(LowerPattern.from_matrix(matrix)),
        "modified IC(0)": lambda: factorise_incompletely(LowerPattern.from_matrix(matrix), share=MODIFIED_SHARE),
        "learned": lambda: learned.factorise(matrix),
    }
    makers: dict[str, Callable[[], Any]] = {
        "Jacobi": lambda: diags_array(1 / matrix.diagonal()),
        "multigrid": lambda: pyamg.ruge_stuben_solver(matrix).aspreconditioner(),
    }
    figures: dict[str, float] = {}
    for name, make in (makers | factorisations).items():
        begin = process_time()
        operator = make()
        operator = operator.as_operator() if isinstance(operator, TriangularFactor) else operator
        operator @ matrix.diagonal()  # what is prepared at the first use
        middle = process_time()
        figures[name] = count_iterations(matrix, operator, seed)
        figures |= {f"{name}, ms of setup": 1e3 * (middle - begin)}
        figures |= {f"{name}, ms of solution": 1e3 * (process_time() - middle)}
    for sweeps in SWEEPS if with_sweeps else ():
        for name in ("IC(0)", "learned"):
            swept = factorisations[name]().with_sweeps(sweeps)
            figures[f"{name}, {sweeps} sweeps"] = count_iterations(matrix, swept.as_operator(), seed)
    return figures


def count_iterations(matrix: Any, operator: Any, seed: int) -> int:
    """Return iterations of scipy's conjugate gradients."""
    from scipy.sparse.linalg import cg

    points: list[Any] = []
    b = torch.randn(matrix.shape[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cg(matrix, b.numpy(), M=operator, rtol=CG_TOLERANCE, maxiter=5000, callback=points.append)
    return len(points)


def draw(figures: Figures) -> Figure:
    """Draw iterations of every family, and over the sweeps of the triangular solves."""
    figure = new_figure(11.4, 4.2)
    bars, curves = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, (name, colour) in enumerate(SOLVER_COLOURS.items()):
        heights = [figures[f"{name}, {family}"] for family in FAMILIES]
        places = [0.17 * (place - 2) + column for column in range(len(FAMILIES))]
        bars.bar(places, heights, 0.15, color=colour, label=name)
    bars.set_yscale("log")
    bars.set_ylim(8, 1500)
    bars.set_xticks(range(len(FAMILIES)), list(FAMILIES))
    bars.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, ncols=2)
    style_axes(bars, "Conjugate gradients, on unseen matrices", "iterations to 1e-10")
    for name in ("IC(0)", "learned"):
        heights = [figures[f"{name}, {sweeps} sweeps, as trained"] for sweeps in SWEEPS]
        curves.plot(SWEEPS, heights, "o-", color=SOLVER_COLOURS[name], linewidth=2.5, label=name)
        curves.axhline(figures[f"{name}, as trained"], color=SOLVER_COLOURS[name], linestyle=":")
    style_axes(curves, "Triangular solves by sweeps", "iterations over parallel sweeps; dotted: 63 levels one by one")
    return figure


STUDY = Study(
    number=58,
    title="A preconditioner that was learned",
    paper="Li, Chen, Du and Matusik, arXiv 2305.16432 (ICML 2023)",
    claims=(
        Claim(
            "A learned factor needs a quarter fewer iterations than IC(0) with the same pattern",
            paper="fewer iterations than incomplete Cholesky",
            here="{learned, as trained:.1f} for {IC(0), as trained:.1f} (spread {spread, learned, as trained:.1f})",
            holds=lambda figures: figures["saved, as trained"] >= 0.25,
        ),
        Claim(
            "It generalises to other sizes and contrasts",
            paper="over sizes and coefficients",
            here="saved {saved, 64 x 64:.0%} on 64 x 64, {saved, contrast 2:.0%} and {saved, contrast 3:.0%} at "
            "contrasts 2 and 3",
            holds=lambda figures: min(figures[f"saved, {family}"] for family in FAMILIES) >= 0.25,
            stable=False,
        ),
        Claim(
            "It is ahead of the modified IC(0) of 1978, and of multigrid",
            paper="not compared",
            here="{learned, as trained:.1f}, {modified IC(0), as trained:.1f}, {multigrid, as trained:.1f} iterations",
            holds=lambda figures: figures["learned, as trained"] < figures["modified IC(0), as trained"],
            stable=False,
        ),
        Claim(
            "Three parallel sweeps are as good as a triangular solve, within a quarter",
            paper="ours",
            here="IC(0) {IC(0), 3 sweeps, as trained:.1f} iterations, learned {learned, 3 sweeps, as trained:.1f}",
            holds=lambda figures: figures["learned, 3 sweeps, as trained"] <= 1.25 * figures["learned, as trained"],
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="IC(0) is a limit too: all entries at once, in as many evaluations as there are levels. Setup and solution "
    "took {IC(0), ms of setup, as trained:.0f} and {IC(0), ms of solution, as trained:.0f} ms, learned "
    "{learned, ms of setup, as trained:.0f} and {learned, ms of solution, as trained:.0f}, multigrid "
    "{multigrid, ms of setup, as trained:.0f} and {multigrid, ms of solution, as trained:.0f}.",
    deviates="Diffusion in two dimensions, 32 x 32, a network of 10,000 weights trained for a minute on 40 matrices.",
)
