"""Claim: at equal deviation, secant slopes of gradients pay for SGD, with momentum or without; for Adam they may cost.

The CNN of `ordinary_training_gains_little.py` (200 steps, batches of 32 of scikit-learn's digits) and a small
regression (a network of 300 parameters, 400 steps on the whole of 128 points). Picard and Secant at tolerances from
0.003 to 1 of a mean step's length; `rounds` at a deviation are interpolated between these runs on a logarithmic scale
of the deviation, as methods must be compared at equal deviation: at an equal tolerance Secant drifts further.
`deviation` is the distance of the final parameters from the sequential run's, in mean lengths of a sequential step. A
dash: no tolerance came that close, or none so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from harness import table, write_result
from ordinary_training_gains_little import RULES, Rule, batch, flat, loss, momentum, network
from torch import Tensor, nn
from torch.optim import SGD, Adam

from forerun import Picard, Secant, Sequential, Sliding
from forerun.engine.methods import Method
from forerun.optim import Loop, StepLength, Vmapped

TOLERANCES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DEVIATIONS = (0.01, 0.1, 1.0, 10.0)
WINDOWS = (8, 16)
POINTS = torch.linspace(-2, 2, 128).unsqueeze(1)


def regression() -> nn.Module:
    """Untrained, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


def squared(model: nn.Module, step: Any, data: Tensor) -> Tensor:
    """Of all points, with noise of the step."""
    return (model(POINTS) - torch.sin(3 * POINTS) - 0.1 * data).square().mean()


def noise(step: int) -> Tensor:
    """Drawn by the step's seed."""
    return torch.randn_like(POINTS)


@dataclass(frozen=True)
class Problem:
    """What is trained, and for how long."""

    build: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    data: Callable[[int], Any]
    steps: int


CNN = Problem(network, loss, batch, 200)
SMALL = Problem(regression, squared, noise, 400)
SMALL_RULES = [
    Rule("Adam 1e-2", Adam, 1e-2, max),
    Rule("SGD 0.1", SGD, 0.1, max),
    Rule("momentum 0.02", momentum, 0.02, max),
]


def final(problem: Problem, rule: Rule, **options: Any) -> tuple[Tensor, int, float]:
    """The final parameters, the rounds, and the mean length of a step."""
    model = problem.build()
    start = flat(model)
    optimizer = rule.build(list(model.parameters()), rule.rate)
    length, before, rounds = 0.0, start, 0
    loop = Loop(model, optimizer, problem.loss, data=problem.data, gradients=Vmapped(), **options)
    for event in loop.run(problem.steps):
        now = flat(model)
        length, before, rounds = length + float((now - before).norm()), now, event.rounds
    return before, rounds, length / problem.steps


def interpolated(runs: list[tuple[float, int]], wanted: float) -> float | None:
    """Rounds at a deviation: the fewest that keep it, between neighbouring runs."""
    runs = sorted(runs)
    for (low, more), (high, fewer) in pairwise(runs):
        if low <= wanted <= high:
            share = math.log(wanted / low) / max(math.log(high / low), 1e-9)
            return more + share * (fewer - more)
    return None


def measured(problem: Problem, rules: list[Rule]) -> str:
    """Both methods, at equal deviation."""
    rows = []
    for rule in rules:
        truth, _, unit = final(problem, rule, method=Sequential())
        for window in WINDOWS:
            for method in (Picard(), Secant()):
                runs = [one(problem, rule, method, window, value, truth, unit) for value in TOLERANCES]
                print(rule.name, window, method, [(f"{d:.2g}", r) for d, r in runs], flush=True)
                found = {f"rounds at {wanted:g}": interpolated(runs, wanted) for wanted in DEVIATIONS}
                rounded = {name: "-" if value is None else round(value) for name, value in found.items()}
                at = dict(zip(TOLERANCES, runs, strict=True))[0.03]
                rows.append({
                    "optimiser": rule.name, "window": window, "method": type(method).__name__, **rounded,
                    "rounds at tolerance 0.03": at[1], "deviation there": at[0],
                })  # fmt: skip
    return table(rows)


def one(
    problem: Problem, rule: Rule, method: Method, window: int, value: float, truth: Tensor, unit: float
) -> tuple[float, int]:
    """Deviation and rounds of a run."""
    found, rounds, _ = final(problem, rule, method=method, window=Sliding(window), tolerance=StepLength(value))
    return float((found - truth).norm()) / unit, rounds


def main() -> None:
    """Both tables."""
    write_result(
        "secant_slopes_pay_for_sgd",
        {
            "What is measured": __doc__ or "",
            "The CNN on digits": measured(CNN, [RULES[0], RULES[2], RULES[4]]),
            "The regression": measured(SMALL, SMALL_RULES),
        },
    )


if __name__ == "__main__":
    main()
