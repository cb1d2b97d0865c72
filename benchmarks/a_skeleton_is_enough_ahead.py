"""Claim: far ahead a skeleton of steps is enough: fewer evaluations in as few rounds, at the same deviation.

Rules on the shipped digits network, 8 samples, float64, all held to the same largest deviation from the sequential
run, 1e-3. Each gets the loosest tolerance, of a grid of ratio 0.8, that keeps it, for each seed by itself; rounds and
evaluations a step are means over the seeds.

- every step: our default (secant slopes, held outputs), with all steps of the window evaluated in every round;
- as it is: the same with the default `Density`, which interpolates where outputs are smooth;
- early: sparse from the first round on; without a check, where a step needs no second evaluation in a row;
- bold, two deep, thin: densities for those who pay by the evaluation, in the table below;
- ParaDiGMS: Picard on increments, new slots copied, residuals in units of the step's noise (its own rule);
- ParaTAA: triangular Anderson on the same iteration, a memory of three, absolute residuals;
- ParaSolver's rule: Picard on increments, new slots from the newest denoised sample by the sampler's own formula, the
  first four steps in order, absolute residuals;
- Newton: the full Jacobian, the limit of what any slope can bring; its Jacobians are counted as evaluations.

Unchecked runs, as the rivals have no check; `checked` runs with `check=True`, where a step is accepted only if it was
evaluated in the round before too. What the check evaluates besides is not counted here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from math import inf
from typing import Any

import torch
from harness import table, write_result
from secant_needs_fewer_rounds import GRID, Task, diffusion, truth
from torch import Tensor

from forerun import Absolute, Picard, Sliding, solve
from forerun.diffusion import Increments
from forerun.engine.guesses import Copy, Guess, Hold, KnownPrefix
from forerun.engine.methods import Anderson, Evaluate, Method, Newton, Secant
from forerun.engine.rounds import Round
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.engine.windows import EVERY_STEP, Density, Window
from forerun.worlds.digits import load_digits_denoiser

BOLD = Density(min_dense=16, opening=0, roughest=inf, spare_width=0.0)
DENSITIES = {
    "every step": EVERY_STEP,
    "as it is": Density(),
    "early": Density((2, 4, 8), zone=16, min_dense=16, opening=0),
    "bold": BOLD,
    "two deep": replace(BOLD, strides=(2, 4, 8, 16), zone=8, growth=2.5, settled=4.0),
    "thin": replace(BOLD, strides=(8, 16), growth=1.0, settled=30.0),
}


@dataclass(frozen=True)
class HeldSample(Guess):
    """New slots of `Increments` from the newest denoised sample, by the sampler's own formula and noise."""

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Any], Tensor]:
        if prefix.outputs is None:
            return [prefix.state], prefix.observe_state().unsqueeze(0)
        increments = prefix.problem.process
        assert isinstance(increments, Increments), "this guess is for increments"
        sampler, step = increments.process, prefix.start - 1
        layout = prefix.problem.output_layout
        increment = layout.unpack(prefix.outputs[-1])
        noise = sampler.add_noise(step, torch.zeros_like(prefix.state))
        before = prefix.state - increment - noise
        coefficients = sampler.coefficients
        sample = (increment - (coefficients.state[step] - 1) * before) / coefficients.output[step]
        states = [prefix.state]
        for index in range(prefix.start, stop - 1):
            states.append(sampler.advance(index, states[-1], sample))
        return states, torch.stack([prefix.problem.observe(state) for state in states])


@dataclass(frozen=True)
class Preconditioned(Window):
    """Some single steps first, then a fixed number of steps."""

    size: int
    single_steps: int = 4

    def width(self, log: Sequence[Round], length: int) -> int:
        return 1 if len(log) < self.single_steps else self.size


@dataclass(frozen=True)
class AheadRule:
    """What is tried, as it is meant to be used."""

    name: str
    window: Window
    method: Method = Secant()
    guess: Guess = Hold()
    increments: bool = False
    noise: bool = False  # residuals in units of the step's noise
    check: bool = False
    seeds: int = 4


@dataclass(frozen=True)
class DigitsCase:
    """A sampler on the digits, and the windows that are tried."""

    name: str
    length: int
    eta: float
    windows: tuple[int, ...]
    seeds: int = 2
    densities: tuple[str, ...] = tuple(DENSITIES)

    def list_rules(self) -> list[AheadRule]:
        """Return what is tried on it."""
        width = self.windows[0]
        rules = [
            AheadRule(name, Sliding(size, DENSITIES[name]), seeds=self.seeds)
            for size in self.windows
            for name in self.densities
        ]
        for name in ("every step", "as it is"):
            rules.append(AheadRule(f"{name}, checked", Sliding(width, DENSITIES[name]), check=True, seeds=self.seeds))
        rules += [
            AheadRule("ParaDiGMS", Sliding(width), Picard(), Copy(), increments=True, noise=True, seeds=self.seeds),
            AheadRule("ParaTAA", Sliding(width), Anderson(), Copy(), increments=True, seeds=self.seeds),
            AheadRule(
                "ParaSolver's rule", Preconditioned(width), Picard(), HeldSample(), increments=True, seeds=self.seeds
            ),
        ]
        if self.length == 50:
            rules.append(AheadRule("Newton", Sliding(width), Newton(), seeds=1))
        return rules


DIGITS = [
    DigitsCase("DDIM 50", 50, 0.0, (50,)),
    DigitsCase("DDIM 100", 100, 0.0, (100,)),
    DigitsCase("DDPM 100", 100, 1.0, (100,)),
    DigitsCase("DDPM 1000", 1000, 1.0, (100, 150), seeds=1, densities=("every step", "as it is", "early", "thin")),
]


@dataclass(frozen=True)
class CountedSolve:
    """What a run took, and how far off it ended."""

    rounds: float
    evaluations: float
    deviation: float


def solve_once(make: Callable[[int], Task], rule: AheadRule, seed: int, size: float) -> CountedSolve:
    """Return one run with one tolerance."""
    task = make(seed)
    process = task.increments if rule.increments else task.process
    tolerance: Tolerance = Absolute(size)
    if rule.noise and task.levels is not None:
        tolerance = PerStep(size, task.levels)
    window = rule.window
    if rule.increments and isinstance(window, Sliding):
        window = replace(window, density=EVERY_STEP)
    solution = solve(
        process, task.state, method=rule.method, window=window, tolerance=tolerance, check=rule.check, guess=rule.guess
    )
    deviation = float((process.observe(solution.state) - truth(make, seed)).abs().max())
    return CountedSolve(solution.rounds, solution.evaluations, deviation)


def find_cheapest(make: Callable[[int], Task], rule: AheadRule, seed: int, target: float) -> CountedSolve:
    """Return the cheapest run that keeps the target: bisection over the grid, then a look at three looser ones."""
    run = cache(lambda place: solve_once(make, rule, seed, GRID[place]))
    low, high = 0, len(GRID) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if run(middle).deviation <= target else (middle + 1, high)
    near = [run(place) for place in range(max(low - 3, 0), low + 1)]
    near = [entry for entry in near if entry.deviation <= target] or near[-1:]
    return min(near, key=lambda entry: (entry.rounds, entry.evaluations))


def average_runs(runs: Sequence[CountedSolve]) -> CountedSolve:
    """Return means of rounds and evaluations, and the largest deviation."""
    count = len(runs)
    return CountedSolve(
        sum(run.rounds for run in runs) / count,
        sum(run.evaluations for run in runs) / count,
        max(run.deviation for run in runs),
    )


def describe_row(rule: str, window: Window, length: int, seeds: int, mean: CountedSolve) -> Mapping[str, object]:
    """Return a row of a table."""
    size = getattr(window, "size", "")
    return {
        "rule": rule, "window": size, "rounds": round(mean.rounds, 2),
        "evaluations a step": round(mean.evaluations / length, 2), "largest deviation": mean.deviation, "seeds": seeds,
    }  # fmt: skip


def compare_digits(case: DigitsCase, target: float) -> str:
    """Return the table of one case on the digits."""
    make = diffusion(load_digits_denoiser().double().requires_grad_(False), case.length, case.eta)
    rows = []
    for rule in case.list_rules():
        mean = average_runs([find_cheapest(make, rule, seed, target) for seed in range(rule.seeds)])
        rows.append(describe_row(rule.name, rule.window, case.length, rule.seeds, mean))
        print(case.name, rows[-1], flush=True)
    return table(rows)


def describe_densities() -> str:
    """Return the table of the densities."""
    rows = []
    for name, density in DENSITIES.items():
        settings = {field.name: str(getattr(density, field.name)) for field in fields(density)}
        rows.append({"rule": name, **settings})
    return table(rows)


def main() -> None:
    """All tables, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[case.name for case in DIGITS], help="one case; writes no result")
    only = parser.parse_args().only
    sections = {"What is measured": __doc__ or "", "The densities": describe_densities()}
    for case in DIGITS:
        if only in {None, case.name}:
            sections[f"{case.name}, deviation <= 1e-3"] = compare_digits(case, 1e-3)
    if only is None:
        write_result("a_skeleton_is_enough_ahead", sections)


if __name__ == "__main__":
    main()
