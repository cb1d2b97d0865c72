"""Rivals at equal deviation: for each the loosest tolerance that keeps a bound, as equal tolerances mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import mean
from typing import Any, Protocol


class RivalRun(Protocol):
    """One run of a rival, with what it cost and how far it is from the run in order."""

    @property
    def rounds(self) -> int:
        """Batched calls, one after another."""

    @property
    def evaluations(self) -> float:
        """Steps evaluated, those that verify a run among them."""

    @property
    def calls(self) -> int:
        """Calls in all: the rounds, and those that verify a run."""

    def largest_deviation(self, truth: Any) -> float:
        """Return the distance from the run in order."""


Rival = Callable[[float], Sequence[RivalRun]]  # the runs of all seeds at a tolerance


def geometric_grid(largest: float, *, ratio: float, count: int) -> list[float]:
    """Return `count` tolerances, each `ratio` times the one before."""
    return [largest * ratio**power for power in range(count)]


def loosest_tolerance(keeps: Callable[[float], bool], grid: Sequence[float], *, look: int = 2) -> float | None:
    """Return the loosest tolerance of a falling grid that keeps a bound; None where the tightest does not.

    Bisection, and then a look at a few looser ones: deviations do not fall strictly with the tolerance.

    Args:
        keeps: whether a tolerance keeps the bound.
        grid: tolerances, the loosest first.
        look: how many looser ones are tried in the end.
    """
    low, high = 0, len(grid) - 1
    if not keeps(grid[high]):
        return None
    while low < high:
        middle = (low + high) // 2
        if keeps(grid[middle]):
            high = middle
        else:
            low = middle + 1
    for place in range(max(low - look, 0), low):
        if keeps(grid[place]):
            return grid[place]
    return grid[low]


def runs_within(rival: Rival, truth: Sequence[RivalRun], bound: float, grid: Sequence[float]) -> Sequence[RivalRun]:
    """Return a rival's runs at the loosest tolerance of a grid that keeps every seed within a bound of the truth.

    Where no tolerance of the grid does, these are the runs at the tightest, whose deviation says so.
    """
    runs = cache(rival)

    def keeps(tolerance: float) -> bool:
        return largest_deviation(runs(tolerance), truth) <= bound

    tolerance = loosest_tolerance(keeps, grid)
    if tolerance is None:
        tolerance = grid[-1]
    return runs(tolerance)


def largest_deviation(runs: Sequence[RivalRun], truth: Sequence[RivalRun]) -> float:
    """Return the largest deviation of any seed."""
    pairs = zip(runs, truth, strict=True)
    return max(run.largest_deviation(run_in_order) for run, run_in_order in pairs)


def rival_figures(label: str, runs: Sequence[RivalRun], truth: Sequence[RivalRun]) -> dict[str, float | str]:
    """Return the figures of a rival: means over the seeds, the spread of its rounds, its largest deviation.

    Args:
        label: put behind the name of each figure: `rounds, DDIM 50, forerun`.
        runs: of all seeds.
        truth: the runs in order of the same seeds.
    """
    rounds = [run.rounds for run in runs]
    return {
        f"rounds, {label}": mean(rounds),
        f"rounds by seed, {label}": f"{min(rounds)} .. {max(rounds)}",
        f"evaluations, {label}": mean(run.evaluations for run in runs),
        f"calls, {label}": mean(run.calls for run in runs),
        f"deviation, {label}": largest_deviation(runs, truth),
    }


def compare_rivals(
    case: str,
    rivals: Mapping[str, Rival],
    truth: Sequence[RivalRun],
    *,
    bound: float,
    grids: Mapping[str, Sequence[float]],
) -> dict[str, float | str]:
    """Return the figures of a case: those in order, and those of every rival within a bound of them.

    Args:
        case: its name, in the names of the figures.
        rivals: what runs all seeds at a tolerance, by name.
        truth: the runs in order of the same seeds.
        bound: of the largest deviation.
        grids: the tolerances of each rival, the loosest first.
    """
    figures = rival_figures(f"{case}, in order", truth, truth)
    for name, rival in rivals.items():
        runs = runs_within(rival, truth, bound, grids[name])
        figures |= rival_figures(f"{case}, {name}", runs, truth)
    return figures


def ratio_range(figures: Mapping[str, Any], quantity: str, over: str, under: str) -> dict[str, float]:
    """Return the smallest and the largest ratio of two rivals over all cases that there are figures of.

    Args:
        figures: of all cases.
        quantity: rounds or evaluations.
        over: the rival above the bar.
        under: the rival below it.

    Returns:
        `smallest rounds, OVER / UNDER` and `largest rounds, OVER / UNDER`.
    """
    ratios = []
    for name, numerator in figures.items():
        if name.startswith(f"{quantity}, ") and name.endswith(f", {over}"):
            case = name.split(", ")[1]
            denominator = figures[f"{quantity}, {case}, {under}"]
            ratios.append(numerator / denominator)
    label = f"{quantity}, {over} / {under}"
    return {f"smallest {label}": min(ratios), f"largest {label}": max(ratios)}
