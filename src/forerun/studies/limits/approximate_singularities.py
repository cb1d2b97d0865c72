"""Approximate singularities: Newton's iteration to singular roots, and from where on there is a proof."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.engine.certificates.alpha_test import ALPHA_THRESHOLD
from forerun.limits import certified_roots
from forerun.limits.certified_roots import PolynomialSystem
from forerun.studies.distances import trace_points
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def caprasse(x: Any, y: Any, z: Any, t: Any) -> list[Any]:
    """Return the equations of Caprasse, of whose roots eight have the multiplicity four."""
    return [
        y**2 * z + 2 * x * y * t - 2 * x - z,
        2 * y * z * t + x * t**2 - x - 2 * z,
        -(x**3) * z + 4 * x * y**2 * z + 4 * x**2 * y * t + 2 * y**3 * t + 4 * x * (x + z) - 10 * y * (y + t) + 2,
        -x * z**3 + 4 * y * z**2 * t + 4 * x * z * t**2 + 2 * y * t**3 + 4 * z * (x + z) - 10 * t * (y + t) + 2,
    ]


SINGULAR_ROOTS: dict[str, tuple[Any, list[complex], int]] = {
    "circle, 2": (lambda x, y: [x**2 + y**2 - 2, x * y - 1], [1, 1], 2),
    "Ojika, 3": (lambda x, y: [x**2 + y - 3, 8 * x + y**2 - 12], [1, 2], 3),
    "plane, 3": (lambda x, y: [x**2 + y**3, x * y, y**2 - x**3], [0, 0], 3),
    "parabola, 4": (lambda x, y: [y - x**2, y**2], [0, 0], 4),
    "Caprasse, 4": (caprasse, [2, -1j * 3**0.5, 2, 1j * 3**0.5], 4),
}
GUESS_COUNTS, ROOT_COLOURS = {"quick": 1, "full": 10}, ("#00897b", "#5e35b1", "#c2185b", "#6d4c41", "#1e88e5")
DEFLATED_STEPS, PLAIN_STEPS = 8, 30
SYSTEM_NOISE, ROUNDING_FLOOR = 1e-6, 1e-17  # of a coefficient in the systems nearby; in the picture


def run(scale: Scale) -> Figures:
    """Follow both iterations from random guesses to five roots, test alpha at every step, and certify."""
    runs: list[dict[str, float]] = []
    figures: dict[str, float] = {"guesses": GUESS_COUNTS[scale]}
    for name, (equations, root, multiplicity) in tqdm(SINGULAR_ROOTS.items(), desc="roots", leave=False):
        truth = torch.tensor(root, dtype=torch.complex128)
        for seed in range(GUESS_COUNTS[scale]):
            generator = torch.Generator().manual_seed(seed)
            guess = truth + 0.02 * torch.randn(truth.shape, generator=generator, dtype=torch.complex128)
            curves = _follow_iterations(equations, guess, truth, multiplicity)
            runs.append(_try_certificates(equations, guess, multiplicity) | _read_curves(curves))
            for kind, values in curves.items() if seed == 0 else ():
                figures |= {f"{kind}, {name}, {step}": value for step, value in enumerate(values)}
    figures |= {name: sum(run[name] for run in runs) for name in ("certified", "refused")}
    figures |= {name: max(run[name] for run in runs) for name in ("steps", "error", "plain error", "deformation")}
    return figures | {"runs": len(runs)}


def _follow_iterations(equations: Any, guess: Tensor, truth: Tensor, multiplicity: int) -> dict[str, list[float]]:
    """Return errors of the root over steps on the extended system and on the equations, and alphas."""
    system = PolynomialSystem.from_user(equations, len(guess))
    dual = certified_roots.find_dual_space(system, guess, multiplicity)
    extended = certified_roots.extend_system(system, guess, certified_roots.choose_algebra(dual))
    first = torch.view_as_real(extended.start)
    deflated = trace_points(certified_roots.NewtonStep(extended.system), first, DEFLATED_STEPS)
    plain = trace_points(certified_roots.LeastSquaresStep(system), torch.view_as_real(guess), PLAIN_STEPS)
    curves: dict[str, list[float]] = {}
    for kind, points in (("error", deflated), ("plain error", plain)):
        errors = [float((torch.view_as_complex(point[: len(truth)]) - truth).abs().max()) for point in points]
        curves[kind] = [max(error, ROUNDING_FLOOR) for error in errors]
    alphas = [certified_roots.measure_alpha(extended.system, torch.view_as_complex(point)) for point in deflated]
    return curves | {"alpha": [min(max(alpha.alpha, ROUNDING_FLOOR), 1e9) for alpha in alphas]}


def _try_certificates(equations: Any, guess: Tensor, multiplicity: int) -> dict[str, float]:
    """Return whether the root is certified, whether refused as a simple one, and the deformation of a system nearby."""
    figures = {"refused": 0.0}
    try:
        certified_roots.certify(equations, guess, 1)
    except certified_roots.NotCertified:
        figures["refused"] = 1
    figures["certified"] = certified_roots.certify(equations, guess).multiplicity == multiplicity
    changed = lambda *unknowns: [equation + SYSTEM_NOISE * unknowns[0] for equation in equations(*unknowns)]  # noqa: E731
    return figures | {"deformation": certified_roots.certify(changed, guess, multiplicity).deformation_bound}


def _read_curves(curves: dict[str, list[float]]) -> dict[str, float]:
    """Return the steps to 1e-14, and the last errors."""
    errors = curves["error"]
    return {"steps": sum(e >= 1e-14 for e in errors), "error": errors[-1], "plain error": min(curves["plain error"])}


def draw(figures: Figures) -> Figure:
    """Draw errors over steps of both iterations, and alpha over steps with the line of the proof."""
    figure = new_figure(11.5, 4.4)
    errors, alphas = figure.subplots(1, 2)
    for name, colour in zip(SINGULAR_ROOTS, ROOT_COLOURS, strict=True):
        style: dict[str, Any] = {"color": colour, "linewidth": 2.5}
        plain = [figures.get(f"plain error, {name}, {step}", nan) for step in range(PLAIN_STEPS)]
        errors.semilogy(range(PLAIN_STEPS), plain, linestyle=":", **style)
        for axes, kind in ((errors, "error"), (alphas, "alpha")):
            values = [figures.get(f"{kind}, {name}, {step}", nan) for step in range(DEFLATED_STEPS)]
            axes.semilogy(range(DEFLATED_STEPS), values, marker="o", markersize=5, label=name, **style)
    alphas.axhline(ALPHA_THRESHOLD, color=INK_COLOUR, linewidth=1)
    style_axes(errors, "Singular roots", "error over steps: Newton on the equations dotted, extended solid")
    style_axes(alphas, "From where on there is a proof", "alpha in ball arithmetic over steps: proven below the line")
    figure.legend(*errors.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


STUDY = Study(
    number=5,
    title="Certified singular roots",
    paper="Mantzaflaris, Mourrain and Szanto, arXiv 2002.05991 (ISSAC 2020)",
    claims=(
        Claim(
            "On the extended system Newton's iteration converges quadratically",
            paper="fast numerical convergence",
            here="1e-14 in {steps} steps, {error:.1e} at the end; on the equations {plain error:.1e} at worst",
            holds=lambda figures: figures["steps"] <= 6 and figures["error"] < 1e-14 < figures["plain error"],
        ),
        Claim(
            "The alpha test certifies roots of multiplicity two to four, in up to four variables",
            paper="certified by the criteria",
            here="{certified} of {runs} guesses, in ball arithmetic",
            holds=lambda figures: figures["certified"] == figures["runs"],
        ),
        Claim(
            "What is not a root of that multiplicity is refused",
            paper="ours",
            here="{refused} of {runs} as simple roots",
            holds=lambda figures: figures["refused"] == figures["runs"],
        ),
        Claim(
            "A system nearby has its deformation found and bounded",
            paper="bounds on the size of the deformation",
            here="at most {deformation:.1e} where every equation was changed by 1e-6 times a variable",
            holds=lambda figures: figures["deformation"] < 100 * SYSTEM_NOISE,
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: Newton's iteration on a regular system ends after {steps} steps.",
    deviates="Five systems, {guesses} guesses each at a distance of 0.02. Structures are local algebras up to "
    "dimension four, where the paper has strata of the punctual Hilbert scheme.",
)
