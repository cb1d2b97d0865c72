"""Claim: text to 3-D in parallel over steps takes several times fewer rounds, and stays nearer than another seed would.

Score distillation of a voxel field, and where running it ahead pays, and where a rival does as well.

The rivals at the same window W: `no control`, which accepts every window whole after one round, and one big batch: a
W-th of the steps, each with W times the views, and Adam's rate times W or its square root. Fixed thresholds are in mean
lengths of a step. The moving rule is DreamPropeller's (`Moving`, with their `Copy` of the last state into new slots),
which begins at 5 and forgets it.

Distances and qualities are PSNR over sixteen held-out views of 32 x 32: to the run in order of the same seed, and to
the true thing. "Another seed" is the run in order of the next seed: what the draw of cameras and noise alone changes.
Rounds are calls of the prior's network, evaluations are gradients of one step, CPU seconds those of the whole run on
one thread. Means over prompts and seeds; `runs` is how many there are.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from _text3d import SculptureRun, cached_run, mean_of
from harness import table, write_result

from forerun import Moving, Picard, Sequential, Sliding
from forerun.engine.guesses import Copy, Guess, Hold
from forerun.engine.tolerance import Tolerance
from forerun.optim import StepLength
from forerun.worlds.solids.sculpture import Sculpture, SculptureOptions, psnr

PROMPTS = ("a yellow cone", "a red torus", "a cyan cube", "a green mug")
SEEDS = (0, 1, 2)
BASE = SculptureOptions()
START = 5.0
RULES: dict[str, tuple[Tolerance, Guess]] = {
    "fixed, 0.3 of a step": (StepLength(0.3), Hold()),
    "fixed, 1 step": (StepLength(1.0), Hold()),
    "moving": (Moving(START), Copy()),
    "no control": (StepLength(math.inf), Hold()),
}
SGD = 100.0  # a large rate: at three times as much the run in order makes no cone


@dataclass(frozen=True)
class Case:
    """Prompts and seeds at one window, and how the steps are taken."""

    window: int
    prompts: Sequence[str] = PROMPTS
    seeds: Sequence[int] = SEEDS
    sgd: bool = False

    def pairs(self) -> list[tuple[str, int]]:
        """All prompts and seeds."""
        return [(prompt, seed) for prompt in self.prompts for seed in self.seeds]


CASES = {
    "window 4": Case(4),
    "window 8": Case(8),
    "window 16": Case(16),
    "window 32": Case(32, seeds=(0,)),
    "SGD with a large rate, window 8": Case(8, seeds=(0,), sgd=True),
}


class Bench:
    """Runs, kept in a folder."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def ordered(self, prompt: str, seed: int, *, sgd: bool = False) -> SculptureRun | None:
        """In order."""
        return self._made(prompt, replace(BASE, seed=seed), "in order", sgd=sgd, method=Sequential(), window=Sliding(1))

    def ahead(self, prompt: str, seed: int, rule: str, case: Case) -> SculptureRun | None:
        """Ahead, by a rule of acceptance."""
        tolerance, guess = RULES[rule]
        options = {"method": Picard(), "window": Sliding(case.window), "tolerance": tolerance, "guess": guess}
        return self._made(prompt, replace(BASE, seed=seed), f"{rule} {case.window}", sgd=case.sgd, **options)

    def batch(self, prompt: str, seed: int, rounds: int, rate: str) -> SculptureRun | None:
        """In order, in so many steps of so many more views."""
        times = math.ceil(BASE.steps / rounds)
        scaled = BASE.rate * (times if rate == "linear" else math.sqrt(times))
        settings = replace(BASE, seed=seed, steps=rounds, views=BASE.views * times, rate=scaled)
        return self._made(prompt, settings, f"batch {rate} {rounds}", method=Sequential(), window=Sliding(1))

    def _made(
        self, prompt: str, settings: SculptureOptions, name: str, *, sgd: bool = False, **options: object
    ) -> SculptureRun | None:
        file = self.work / f"{prompt} {settings.seed} {name}{' sgd' if sgd else ''}.json".replace(" ", "-")

        def run(sculpture: Sculpture) -> object:
            optimizer = torch.optim.SGD([sculpture.field], SGD) if sgd else None
            return sculpture.build_loop(optimizer, **options).run(settings.steps).solution()

        return cached_run(file, lambda: Sculpture(prompt, settings), run)


def row(
    run: str, all_found: Sequence[SculptureRun | None], truths: Sequence[SculptureRun | None]
) -> dict[str, object] | None:
    """Means of some runs beside those in order; None where there are none."""
    pairs = [(one, truth) for one, truth in zip(all_found, truths, strict=True) if one and truth]
    if not pairs:
        return None
    found, truth = zip(*pairs, strict=True)
    return {
        "run": run,
        "runs": len(found),
        "rounds": round(mean_of([each.rounds for each in found]), 1),
        "fewer": mean_of([BASE.steps / each.rounds for each in found]),
        "evaluations": round(mean_of([each.evaluations for each in found])),
        "to the run in order, dB": _db([psnr(a.pictures, b.pictures) for a, b in zip(found, truth, strict=True)]),
        "to the true thing, dB": _db([each.quality for each in found]),
        "CPU s": mean_of([each.cpu for each in found]),
    }


def section(bench: Bench, case: Case) -> str:
    """The table of a case."""
    pairs = case.pairs()
    truth = [bench.ordered(prompt, seed, sgd=case.sgd) for prompt, seed in pairs]
    others = [bench.ordered(prompt, (seed + 1) % 3, sgd=case.sgd) for prompt, seed in pairs]
    rows = [row("in order", truth, truth), row("another seed", others, truth)]
    for rule in RULES:
        found = [bench.ahead(prompt, seed, rule, case) for prompt, seed in pairs]
        rows.append(row(rule, found, truth))
    if not case.sgd:
        whole = math.ceil(BASE.steps / case.window)
        for rate in ("square root", "linear"):
            batches = [bench.batch(prompt, seed, whole, rate) for prompt, seed in pairs]
            rows.append(row(f"one big batch, rate {rate}", batches, truth))
    said = f"{', '.join(case.prompts)}; seeds {', '.join(map(str, case.seeds))}."
    return f"{said}\n\n{table([each for each in rows if each])}"


def _db(values: list[float]) -> str:
    low, high = min(values), max(values)
    return "same" if math.isinf(low) else f"{mean_of(values):.1f} ({low:.1f} .. {high:.1f})"


def main() -> None:
    """All cases, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("forerun-out/text3d-runs"), help="folder of finished runs")
    parser.add_argument("cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    bench = Bench(options.work)
    write_result("text_to_3d_needs_fewer_rounds", {name: section(bench, CASES[name]) for name in options.cases})


if __name__ == "__main__":
    main()
