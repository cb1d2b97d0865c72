"""Claim: Secant needs fewer rounds and evaluations than Picard and triangular Anderson at the same deviation.

Rivals are stated by this engine, each with its own split, guess and norm:

- ParaDiGMS: Picard on increments, new slots copied, residuals in units of the step's noise (its own rule);
- ParaDiGMS, absolute: the same with an absolute tolerance, which serves it better at small deviations;
- ParaTAA: triangular Anderson on the same iteration, a memory of three;
- Newton: the full Jacobian, the limit of what any slope can bring.

Every method gets the loosest tolerance (of a grid of ratio 0.8) that keeps the *true* largest deviation from the
sequential run under the target, for each seed by itself; rounds and evaluations are means over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from harness import table, write_result
from torch import Tensor

from forerun import Absolute, Hold, Picard, Process, Secant, Sequential, Sliding, solve
from forerun.diffusion import Denoising, Increments, Schedule
from forerun.engine.guesses import Copy, Guess, Probe
from forerun.engine.methods import Anderson, Method, Newton
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.worlds.digits import ExactDenoiser, load_digits, load_digits_denoiser

GRID = [0.3 * 0.8**power for power in range(60)]


@dataclass(frozen=True)
class Rival:
    """A method as it is meant to be used."""

    name: str
    method: Method
    guess: Guess
    increments: bool = False
    noise: bool = False  # residuals in units of the step's noise
    seeds: int = 4


PARADIGMS = Rival("ParaDiGMS", Picard(), Copy(), increments=True, noise=True)
RIVALS = [
    PARADIGMS,
    Rival("ParaDiGMS, absolute", Picard(), Copy(), increments=True),
    Rival("ParaTAA", Anderson(Picard(), memory=3), Copy(), increments=True),
    Rival("Picard, held", Picard(), Hold()),
    Rival("Secant, held", Secant(), Hold()),
    Rival("Secant, probed", Secant(), Probe(8)),
]
NEWTON = Rival("Newton, held", Newton(), Hold(), seeds=1)


@dataclass(frozen=True)
class Task:
    """A problem for a seed: the process for our split, that for increments, the state, and the noise levels."""

    process: Process
    increments: Process
    state: object
    levels: Tensor | None = None


def diffusion(denoiser: Callable[[Tensor, Tensor], Tensor], length: int, eta: float) -> Callable[[int], Task]:
    """DDIM or DDPM for 8 samples of 64 pixels, float64, linear betas."""

    @cache
    def make(seed: int) -> Task:
        generator = torch.Generator().manual_seed(seed)
        state = torch.randn(8, 64, generator=generator, dtype=torch.float64)
        noise = torch.randn(length, 8, 64, generator=generator, dtype=torch.float64)
        process = Denoising(denoiser, Schedule.linear().spaced(length), eta=eta, noise=noise.__getitem__)
        return Task(process, Increments(process), state, process.levels)

    return make


@cache
def recurrent(seed: int) -> Task:
    """A contractive tanh network of 32 units with inputs, 500 steps, 4 sequences."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.9 * torch.randn(32, 32, generator=generator, dtype=torch.float64) / 32**0.5
    inputs = torch.randn(500, 4, 32, generator=generator, dtype=torch.float64)

    def cell(steps: Tensor, hidden: Tensor) -> Tensor:
        return torch.tanh(hidden @ weight + inputs[steps])

    state = torch.randn(4, 32, generator=generator, dtype=torch.float64)
    return Task(*(Process.from_step(cell, 500, batched=True, increment=i, batch_dims=1) for i in (False, True)), state)


class Adam(Process):
    """Adam on a least-squares problem with a random batch a step; the output is the gradient."""

    length = 400

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.data = torch.randn(400, 16, 20, generator=generator, dtype=torch.float64)
        truth = torch.randn(20, generator=generator, dtype=torch.float64)
        self.target = torch.tanh(self.data @ truth)

    def observe(self, state: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return state[0]

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        data = self.data[steps]
        value = torch.tanh((data @ inputs.unsqueeze(-1)).squeeze(-1))
        slack = 2 * (value - self.target[steps]) * (1 - value**2) / data.shape[1]
        return (slack.unsqueeze(-2) @ data).squeeze(-2)

    def advance(self, step: int, state: tuple[Tensor, Tensor, Tensor], output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, mean, square = state
        mean, square = 0.9 * mean + 0.1 * output, 0.999 * square + 0.001 * output**2
        unbiased = square / (1 - 0.999 ** (step + 1))
        return weight - 0.02 * mean / (1 - 0.9 ** (step + 1)) / (unbiased.sqrt() + 1e-8), mean, square


@cache
def optimiser(seed: int) -> Task:
    """See `Adam`."""
    process, zero = Adam(seed), torch.zeros(20, dtype=torch.float64)
    return Task(process, process, (zero, zero, zero))


@cache
def truth(make: Callable[[int], Task], seed: int) -> Tensor:
    """The final input of the sequential run."""
    task = make(seed)
    return task.process.observe(solve(task.process, task.state, method=Sequential(), check=False).state)


def once(make: Callable[[int], Task], rival: Rival, seed: int, width: int, size: float) -> tuple[int, int, float]:
    """Rounds, evaluations and true largest deviation with a tolerance."""
    task = make(seed)
    process = task.increments if rival.increments else task.process
    tolerance: Tolerance = Absolute(size)
    if rival.noise and task.levels is not None:
        tolerance = PerStep(size, task.levels)
    solution = solve(
        process, task.state, method=rival.method, window=Sliding(width), tolerance=tolerance, check=False,
        guess=rival.guess,
    )  # fmt: skip
    deviation = float((process.observe(solution.state) - truth(make, seed)).abs().max())
    return solution.rounds, solution.evaluations, deviation


def at_deviation(
    make: Callable[[int], Task], rival: Rival, seed: int, width: int, target: float
) -> tuple[int, int, float]:
    """The cheapest run that keeps the target: bisection over the grid, then a look at three looser tolerances."""
    low, high = 0, len(GRID) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if once(make, rival, seed, width, GRID[middle])[2] <= target else (middle + 1, high)
    near = [once(make, rival, seed, width, GRID[place]) for place in range(max(low - 3, 0), low + 1)]
    kept = [run for run in near if run[2] <= target] or near[-1:]
    return min(kept)


def compare(make: Callable[[int], Task], rivals: Sequence[Rival], width: int, target: float) -> str:
    """One table: every rival at the target deviation, beside the first."""
    rows: list[Mapping[str, object]] = []
    base: tuple[float, float] | None = None
    for rival in rivals:
        runs = [at_deviation(make, rival, seed, width, target) for seed in range(rival.seeds)]
        rounds, evaluations = (sum(run[k] for run in runs) / len(runs) for k in (0, 1))
        base = base or (rounds, evaluations)
        rows.append({
            "method": rival.name, "rounds": round(rounds, 1), "evaluations": round(evaluations),
            "largest deviation": max(run[2] for run in runs), "seeds": len(runs),
            "rounds, ratio": rounds / base[0], "evaluations, ratio": evaluations / base[1],
        })  # fmt: skip
        print(rows[-1], flush=True)
    return table(rows)


def at_tolerance(make: Callable[[int], Task], width: int) -> str:
    """The setting of the prototype: a fixed tolerance of 0.03 of the noise, seed 0."""
    noisy = [Rival(r.name, r.method, r.guess, r.increments, noise=True) for r in RIVALS if "absolute" not in r.name]
    rows = []
    for rival in noisy:
        rounds, evaluations, deviation = once(make, rival, 0, width, 0.03)
        rows.append(
            {"method": rival.name, "rounds": rounds, "evaluations": evaluations, "largest deviation": deviation}
        )
    return table(rows)


def main() -> None:
    """Run all tables, or with --quick those of a few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out DDPM 1000 and Newton")
    quick = parser.parse_args().quick
    exact, trained = ExactDenoiser(load_digits().double()), load_digits_denoiser().double()
    sections = {
        f"(a) exact denoiser, {name}, window {width}, tolerance 0.03 of the noise": at_tolerance(
            diffusion(exact, length, eta), width
        )
        for name, length, eta, width in DIFFUSION
        if not (quick and length > 100)
    }
    for name, length, eta, width in DIFFUSION:
        if not (quick and length > 100):
            rivals = RIVALS + ([] if quick or length > 100 else [NEWTON])
            sections[f"(b) trained denoiser, {name}, window {width}, deviation <= 1e-3"] = compare(
                diffusion(trained, length, eta), rivals, width, 1e-3
            )
    plain = [r for r in RIVALS if not r.noise and "probed" not in r.name]
    for name, make in {"(c) tanh RNN, 500 steps": recurrent, "(d) Adam, 400 steps": optimiser}.items():
        rivals = [*plain, *([NEWTON] if make is recurrent else [])]
        sections[f"{name}, window 32, deviation <= 1e-4"] = compare(make, rivals, 32, 1e-4)
    write_result("secant_needs_fewer_rounds", {"What is measured": __doc__ or "", **sections})


DIFFUSION = [
    ("DDIM 50", 50, 0.0, 50),
    ("DDIM 100", 100, 0.0, 100),
    ("DDPM 100", 100, 1.0, 100),
    ("DDPM 1000", 1000, 1.0, 100),
]

if __name__ == "__main__":
    main()
