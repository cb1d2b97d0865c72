"""Claim: ordinary training, at rates that people use, gains little by running ahead; where it does, no control does.

A small CNN (3.9 k parameters) on scikit-learn's digits, 1400 to train on, batches of 32 drawn by the step, 200 steps.
Optimisers: gentle and aggressive ones.

`rounds` are batched gradient evaluations one after another, `gradients` all of them. `deviation` is the distance of the
final parameters from the sequential run's, in mean lengths of a sequential step; `accuracy` is on the other 397 digits.
Seconds are of the processor, on one thread, all overheads counted, as other programs shared the machine; gradients of a
window are taken by `Vmapped`, of a single step by autograd. The *plain loop* is the one that everybody writes;
*sequential* is ours in order, the front door included, where the first steps are tried. Two rows tell what a deviation
means: another seed of the batches, and the same run from a start moved by a millionth of a step, which shows how far
the path itself drives rounding apart.

Rivals: *no control* accepts every window as it comes (an infinite tolerance); the moving threshold of DreamPropeller
(start 1, median, their `Copy` of the last state into new slots); and *one big batch*: as many steps as there are
windows, each on the batches of `W` steps together, at a rate `W` times as large (for Adam the root of that, and not
beyond 0.05). `Auto` is what `Loop` does by default on this machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from harness import table, write_result
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

from forerun import Absolute, Moving, NotConverged, Picard, Secant, Sequential, Sliding
from forerun.engine.guesses import Copy
from forerun.optim import Loop, StepLength, Vmapped, seeded

STEPS, BATCH, WINDOWS = 200, 32, (4, 8, 16, 32)
DIGITS = load_digits()
ORDER = torch.randperm(len(DIGITS.target), generator=torch.Generator().manual_seed(0))
PICTURES = (torch.tensor(DIGITS.images, dtype=torch.float32).unsqueeze(1) / 8 - 1)[ORDER]
LABELS = torch.tensor(DIGITS.target)[ORDER]
TRAINED = 1400


@dataclass(frozen=True)
class Rule:
    """An optimiser, and how its rate grows with the batch."""

    name: str
    build: Callable[[list[nn.Parameter], float], Optimizer]
    rate: float
    scaled: Callable[[float, int], float]


def linear(rate: float, times: int) -> float:
    """The usual rule for SGD."""
    return rate * times


def root(rate: float, times: int) -> float:
    """The usual rule for Adam, as far as it can be stable."""
    return min(rate * math.sqrt(times), 0.05)


def momentum(params: list[nn.Parameter], rate: float) -> Optimizer:
    """SGD with momentum."""
    return SGD(params, rate, momentum=0.9)


RULES = [
    Rule("Adam 1e-3", Adam, 1e-3, root),
    Rule("Adam 1e-2", Adam, 1e-2, root),
    Rule("SGD 0.01", SGD, 0.01, linear),
    Rule("SGD 0.1", SGD, 0.1, linear),
    Rule("momentum 0.01", momentum, 0.01, linear),
]
WAYS: Mapping[str, dict[str, Any]] = {
    "Picard, 0.03 of a step": {"method": Picard(), "tolerance": StepLength(0.03)},
    "Picard, 0.3 of a step": {"method": Picard(), "tolerance": StepLength(0.3)},
    "Secant, 0.03 of a step": {"method": Secant(), "tolerance": StepLength(0.03)},
    "moving threshold": {"method": Picard(), "tolerance": Moving(1.0), "guess": Copy()},
    "no control": {"method": Picard(), "tolerance": Absolute(float("inf"))},
}


def network() -> nn.Module:
    """Untrained, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Drawn by the step's seed."""
    chosen = torch.randint(TRAINED, (BATCH,))
    return PICTURES[chosen], LABELS[chosen]


def big(step: int, times: int) -> tuple[Tensor, Tensor]:
    """As much as `times` steps see."""
    chosen = torch.randint(TRAINED, (BATCH * times,))
    return PICTURES[chosen], LABELS[chosen]


def loss(model: nn.Module, step: int, data: tuple[Tensor, Tensor]) -> Tensor:
    """Of a batch."""
    return functional.cross_entropy(model(data[0]), data[1])


def accuracy(model: nn.Module) -> float:
    """On the digits that were not trained on."""
    with torch.no_grad():
        return float((model(PICTURES[TRAINED:]).argmax(1) == LABELS[TRAINED:]).double().mean())


def flat(model: nn.Module) -> Tensor:
    """All parameters in a row."""
    return torch.cat([tensor.detach().flatten().double() for tensor in model.parameters()])


@dataclass(frozen=True)
class Result:
    """One run."""

    model: nn.Module
    rounds: int
    gradients: int
    seconds: float
    note: str = ""

    def row(self, name: str, truth: Tensor | None, unit: float) -> dict[str, Any]:
        """Its line of the table."""
        deviation = None if truth is None else float((flat(self.model) - truth).norm()) / unit
        return {
            "run": name, "rounds": self.rounds, "gradients": self.gradients, "deviation": deviation,
            "accuracy": accuracy(self.model), "seconds": self.seconds, "note": self.note,
        }  # fmt: skip


def run(rule: Rule, steps: int = STEPS, *, times: int = 1, nudge: float = 0.0, **options: Any) -> Result:
    """One run, from the front door to the end; `nudge` moves its start by so much."""
    model = network()
    if nudge:
        moved = [torch.randn_like(tensor) for tensor in model.parameters()]
        size = math.sqrt(sum(float(each.square().sum()) for each in moved))
        with torch.no_grad():
            for tensor, each in zip(model.parameters(), moved, strict=True):
                tensor += nudge / size * each
    optimizer = rule.build(list(model.parameters()), rule.scaled(rule.rate, times))
    data = batch if times == 1 else lambda step: big(step, times)
    begun = time.process_time()
    try:
        solution = Loop(model, optimizer, loss, data=data, **options).run(steps).solution()
    except NotConverged as error:
        return Result(
            model, error.solution.rounds, error.solution.evaluations, time.process_time() - begun, "not finite"
        )
    return Result(model, solution.rounds, solution.evaluations, time.process_time() - begun)


def bare(rule: Rule) -> Result:
    """The loop that everybody writes."""
    model = network()
    optimizer = rule.build(list(model.parameters()), rule.rate)
    begun = time.process_time()
    for step in range(STEPS):
        optimizer.zero_grad()
        with seeded(0, step):
            loss(model, step, batch(step)).backward()
        optimizer.step()
    return Result(model, STEPS, STEPS, time.process_time() - begun)


def unit_of(rule: Rule) -> float:
    """The mean length of a sequential step."""
    model = network()
    lengths, before = [], flat(model)
    for _ in Loop(model, rule.build(list(model.parameters()), rule.rate), loss, data=batch, method=Sequential()).run(
        STEPS
    ):
        lengths.append(float((flat(model) - before).norm()))
        before = flat(model)
    return sum(lengths) / len(lengths)


def measured(rule: Rule) -> str:
    """All runs of an optimiser."""
    unit = unit_of(rule)
    whole = run(rule, method=Sequential())
    truth = flat(whole.model)
    rows = [
        bare(rule).row("plain loop", truth, unit),
        whole.row("sequential", truth, unit),
        run(rule, method=Sequential(), seed=1).row("sequential, another seed", truth, unit),
        run(rule, method=Sequential(), nudge=1e-6 * unit).row("sequential, start moved by 1e-6", truth, unit),
        run(rule).row("Auto", truth, unit),
    ]
    for window in WINDOWS:
        for name, options in WAYS.items():
            result = run(rule, window=Sliding(window), gradients=Vmapped(), **options)
            rows.append(result.row(f"window {window}: {name}", truth, unit))
            print(rule.name, rows[-1], flush=True)
        result = run(rule, -(-STEPS // window), times=window, method=Sequential())
        rows.append(result.row(f"window {window}: one big batch", truth, unit))
    return f"Mean length of a step: {unit:.3g}.\n\n{table(rows)}"


def main() -> None:
    """All tables."""
    run(RULES[0], 20)  # warm
    sections = {"What is measured": __doc__ or ""} | {rule.name: measured(rule) for rule in RULES}
    write_result("ordinary_training_gains_little", sections)


if __name__ == "__main__":
    main()
