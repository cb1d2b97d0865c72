"""Runs by every schedule, and by what their gradient norms ask for: logistic regression, and a network on digits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from forerun.optim import ScheduleFree
from forerun.optim.schedules import NormRecorder, refine
from forerun.studies.optim._digit_runs import train_digits
from forerun.studies.optim._logistic_runs import LogisticProblem, cosine_to, linear_to, run_logistic, steps_to

SCHEDULE_RATES = [0.3 * 10 ** (k / 4) for k in range(9)]
SCHEDULE_REFINEMENTS = 3
SCHEDULE_POINTS = 40  # of a schedule that is drawn
NETWORK_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
NETWORK_RATES = {"SGD": 0.3, "Adam": 0.01}


def compare_schedules(name: str, problem: LogisticProblem, steps: int, seeds: int) -> dict[str, Any]:
    """Return excess losses on one problem, and the schedules of its refinements."""
    shapes = {"constant": lambda step: 1.0, "linear": linear_to(steps), "cosine": cosine_to(steps)}
    figures: dict[str, Any] = {}
    for shape, schedule in {**shapes, "steps": steps_to(steps)}.items():
        runs = run_logistic(problem, SCHEDULE_RATES, seeds, steps, schedule=schedule)
        figures[f"excess, {shape}, {name}"] = float(runs.excess[-1, runs.best_rate].mean())
        if shape == "linear":
            norms = runs.norms[:, runs.best_rate].mean(-1)
    free = run_logistic(problem, SCHEDULE_RATES, seeds, steps, make=ScheduleFree)
    figures[f"excess, schedule-free, {name}"] = float(free.excess[-1, free.best_rate].mean())
    previous = torch.zeros(steps)
    for refinement in range(SCHEDULE_REFINEMENTS):
        shares = refine(norms)
        runs = run_logistic(problem, SCHEDULE_RATES, seeds, steps, schedule=[*shares.tolist(), 0.0].__getitem__)
        norms = runs.norms[:, runs.best_rate].mean(-1)
        figures[f"excess, refined {refinement + 1} times, {name}"] = float(runs.excess[-1, runs.best_rate].mean())
        figures[f"move {refinement + 1}, {name}"] = float((shares - previous).abs().mean())
        if refinement == 0:
            figures |= {f"excess, refined, {name}": figures[f"excess, refined 1 times, {name}"]}
            figures |= {
                f"first share, {name}": float(shares[0]),
                f"share at 90 %, {name}": float(shares[steps * 9 // 10]),
            }
            drawn = shares[torch.linspace(0, steps - 1, SCHEDULE_POINTS).long()]
            figures |= {f"share, {name}, {k}": round(float(share), 4) for k, share in enumerate(drawn)}
        previous = shares
    return figures


def refine_network(kind: str, steps: int, seeds: int) -> dict[str, float]:
    """Return accuracies on held-out digits: by linear decay and a cosine, then refined from the norms of the first."""
    recorders: list[NormRecorder] = []

    def make_optimizer(network: nn.Module) -> Optimizer:
        optimizer = NETWORK_OPTIMIZERS[kind](network.parameters(), lr=NETWORK_RATES[kind])
        recorders.append(NormRecorder(optimizer, adaptive=kind == "Adam"))
        return optimizer

    shares: dict[str, list[float]] = {"linear": [], "cosine": [], "refined": []}
    for seed in range(seeds):
        shares["linear"].append(train_digits(make_optimizer, steps, seed, schedule=linear_to(steps))[steps])
        refined = [*refine(recorders[-1]).tolist(), 0.0]
        shares["cosine"].append(train_digits(make_optimizer, steps, seed, schedule=cosine_to(steps))[steps])
        shares["refined"].append(train_digits(make_optimizer, steps, seed, schedule=refined.__getitem__)[steps])
    return {f"digits, {kind}, {name}": statistics.fmean(values) for name, values in shares.items()}
