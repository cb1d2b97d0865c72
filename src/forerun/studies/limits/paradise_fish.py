"""The paradise fish: a functional equation for its choices, by Picard's iteration and by what needs less."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun import Absolute
from forerun.engine.tolerance import largest_element
from forerun.limits import AndersonMixing, Plain
from forerun.limits import functional_equations as equations
from forerun.studies.distances import trace_distances
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FISH_ENDS = {0.0: 0.0, 1.0: 1.0}
HABITS = {"weak": (0.3, 0.4), "strong": (0.7, 0.8), "reversed": (0.8, 0.5)}  # alpha and beta: learning is 1 - alpha
HABIT_COLOURS = {"weak": IN_ORDER_COLOUR, "strong": OURS_COLOUR, "reversed": RIVAL_COLOUR}
GRID_SIZES = {"quick": (101, 801), "full": (1001, 32_001)}  # points of the grid, and of the truth
SHOWN_PLACES = [place / 50 for place in range(51)]
ITERATION_MARKS = (*range(0, 80, 4), *range(80, 400, 16))
ACCURACY = 1e-10
FISH_METHODS = {"Picard": Plain(), "mixed": AndersonMixing(8)}


def run(scale: Scale) -> Figures:
    """Solve the equation for three habits by every method, and hold bounds against errors."""
    points, fine = GRID_SIZES[scale]
    figures: dict[str, Any] = {"points": points, "fine points": fine}
    for habit in tqdm(HABITS, desc="habits", leave=False):
        for name, value in _solve_habit(*HABITS[habit], points, fine).items():
            figures[f"{name}, {habit}"] = value
    return figures


def _solve_habit(alpha: float, beta: float, points: int, fine: int) -> dict[str, float]:
    """Return errors, bounds and evaluations for a fish that turns right with the probability x, and learns from it."""
    grid = torch.linspace(0, 1, points, dtype=torch.float64)
    terms = [lambda x: x, lambda x: 1 - x], [lambda x: alpha * x + 1 - alpha, lambda x: beta * x]
    equation = equations.FunctionalEquation(*terms, fixed_values=FISH_ENDS)
    finer = equations.GridMap(equation, torch.linspace(0, 1, fine, dtype=torch.float64))
    truth = finer.interpolate_values(finer.solve_system(finer.weights, finer.offsets), grid)
    direct = equations.solve_directly(*terms, grid, fixed_values=FISH_ENDS)
    solutions = {"sparse": direct}
    figures = {"Lipschitz constant": direct.existence.lipschitz_rate, "constant": direct.existence.rate}
    for name, method in FISH_METHODS.items():
        first = direct.operator.guess_values()
        distances = trace_distances(direct.operator, first, direct.values, method=method, distance=ACCURACY)
        figures[f"evaluations, {name}"] = len(distances) - 1
        figures |= {f"distance, {name}, {mark}": distances[mark] for mark in ITERATION_MARKS if mark < len(distances)}
        for size in (1e-2, 1e-6):
            tolerance = Absolute(size, size=largest_element)
            solutions[f"{name}, {size}"] = equations.solve(
                *terms, grid, fixed_values=FISH_ENDS, method=method, tolerance=tolerance
            )
    for count in (1, 4):
        solutions[f"{count}"], _ = equations.fit_family(
            *terms, grid, family=_make_family(count), base=lambda x: x, fixed_values=FISH_ENDS
        )
    errors = {name: (solution.values - truth).abs() for name, solution in solutions.items()}
    figures |= {f"error of {name}": float(errors[name].max()) for name in ("sparse", "1", "4")}
    shares = [(errors[name] / solution.bounds)[1:-1].max() for name, solution in solutions.items()]
    figures |= {"bound": direct.error_bound, "largest error over bound": float(max(shares))}
    shown = direct(torch.tensor(SHOWN_PLACES)) - torch.tensor(SHOWN_PLACES)
    return figures | {
        f"chance at {place:.2f}": value for place, value in zip(SHOWN_PLACES, shown.tolist(), strict=True)
    }


def _make_family(count: int) -> list[equations.RealFunction]:
    return [lambda x, degree=degree: x * (1 - x) * x**degree for degree in range(count)]  # type: ignore[misc]


def draw(figures: Figures) -> Figure:
    """Draw what the fish comes to prefer, and the distance from the solution over evaluations."""
    figure = new_figure(11.5, 4.4)
    habits, distances = figure.subplots(1, 2)
    for habit, colour in HABIT_COLOURS.items():
        label = f"{habit}: {HABITS[habit][0]:g}, {HABITS[habit][1]:g}"
        heights = [figures[f"chance at {place:.2f}, {habit}"] for place in SHOWN_PLACES]
        habits.plot(SHOWN_PLACES, heights, color=colour, linewidth=3, label=label)
        habits.fill_between(SHOWN_PLACES, heights, color=colour, alpha=0.12)
        for name, style in (("Picard", ":"), ("mixed", "-")):
            curve = [figures.get(f"distance, {name}, {mark}, {habit}", nan) for mark in ITERATION_MARKS]
            distances.semilogy(ITERATION_MARKS, curve, color=colour, linestyle=style, linewidth=2.5)
    style_axes(habits, "Habits of the paradise fish", "chance to end on the right, less that to begin there")
    style_axes(distances, "To the solution on the grid", "distance over evaluations: Picard dotted, mixed solid")
    figure.legend(*habits.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


STUDY = Study(
    number=4,
    title="The paradise fish",
    paper="arXiv 2405.12345 (2024)",
    claims=(
        Claim(
            "One function solves the equation, by contraction in the Lipschitz space",
            paper="existence and uniqueness under a condition on the constants",
            here="constants {Lipschitz constant, weak:.2f}, {Lipschitz constant, strong:.2f} and "
            "{Lipschitz constant, reversed:.2f}; in a weighted norm {constant, weak:.2f}, {constant, strong:.2f} and "
            "{constant, reversed:.2f}",
            holds=lambda figures: figures["Lipschitz constant, weak"] < 1 > figures["constant, strong"],
        ),
        Claim(
            "Picard's iteration is expensive",
            paper="can be very expensive",
            here="{evaluations, Picard, strong} evaluations; {evaluations, mixed, strong} mixed, and one sparse system",
            holds=lambda figures: figures["evaluations, Picard, strong"] >= 2 * figures["evaluations, mixed, strong"],
        ),
        Claim(
            "The bound is above the error, whatever found the function",
            paper="ours",
            here="at most {largest error over bound, strong:.2f} of it; error {error of sparse, strong:.1e}, "
            "bound {bound, strong:.1e} on {points} points",
            holds=lambda figures: max(figures[f"largest error over bound, {habit}"] for habit in HABITS) <= 1,
        ),
        Claim(
            "Least squares in a family of one parameter is very accurate",
            paper="very good accuracy",
            here="to {error of 1, weak:.1e}, {error of 1, strong:.1e} and {error of 1, reversed:.1e}; "
            "four parameters {error of 4, weak:.1e}, {error of 4, strong:.1e} and {error of 4, reversed:.1e}",
            holds=lambda figures: max(figures[f"error of 1, {habit}"] for habit in HABITS) <= 1e-2,
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="Mixing takes {evaluations, mixed, strong} evaluations for {evaluations, Picard, strong} of Picard's; on a "
    "grid the equation is linear, and one sparse system gives the same at once.",
    deviates="Functions linear between {points} points; the truth has {fine points}. The family x + c x (1 - x), with "
    "higher powers for more parameters, is ours: the paper's was not to be had.",
)
