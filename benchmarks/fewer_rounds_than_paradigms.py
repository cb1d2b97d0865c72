"""Claim: forerun needs fewer rounds and evaluations than diffusers' own ParaDiGMS pipeline at the same deviation.

The rival is `StableDiffusionParadigmsPipeline` with `DDPMParallelScheduler` and `DDIMParallelScheduler`, as diffusers
ships it; forerun runs the ordinary `StableDiffusionPipeline` with the same scheduler in parallel. Both are built
from the components of the shipped text-to-image pipeline, with guidance 3, and get the same prompts and seeds.

The deviation is the largest difference of any number of the latents from those of the sequential run of the same
scheduler, in units of the latents' root mean square, the largest of all seeds; the root mean square stands beside it.
ParaDiGMS draws its noise before its loop, here in the same order as the sequential run does; its own limit is its run
with a window of one step. Rounds are calls of the UNet and evaluations are steps of one sample with both guidance
branches, counted at the UNet; means over the seeds.

Each gets the loosest tolerance, of a grid of ratio 0.7 and common to all seeds, that keeps the bound. The default
takes no tuning: `parallel(pipe)` as it is; on a CPU core its window is as narrow as the core's time suggests.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from _pipelines import describe_weights
from diffusers import DDIMParallelScheduler, DDPMParallelScheduler, StableDiffusionPipeline
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_paradigms import (
    StableDiffusionParadigmsPipeline,
)
from harness import table, write_result

from forerun import Sliding
from forerun.studies.equal_deviation import loosest_tolerance
from forerun.worlds.scenes.counted_run import (
    CountedRun,
    build_pipeline,
    count_run,
    largest_deviation,
    mean_deviation,
    scene_prompts,
)

THEIRS = [4 * 0.7**power for power in range(32)]
OURS = [2 * 0.7**power for power in range(32)]


@dataclass(frozen=True)
class RivalCase:
    """A scheduler, its steps, and what is tried with it."""

    name: str
    scheduler: type
    steps: int
    windows: Sequence[int]
    bounds: Sequence[float] = (1e-1, 1e-2, 1e-3)
    seeds: int = 2
    target: str = ""


CASES = [
    RivalCase("DDIM 50", DDIMParallelScheduler, 50, (25, 50), target="rounds 0.8"),
    RivalCase("DDIM 100", DDIMParallelScheduler, 100, (50, 100), target="rounds 0.8"),
    RivalCase("DDPM 100", DDPMParallelScheduler, 100, (50, 100), target="rounds 0.6, evaluations 0.7"),
    RivalCase("DDPM 1000", DDPMParallelScheduler, 1000, (100,), (1e-1, 1e-2), target="rounds 0.6, evaluations 0.7"),
]


@dataclass(frozen=True)
class MeanRun:
    """Means over the seeds, and the largest deviations."""

    tolerance: float | None
    rounds: float
    evaluations: float
    seconds: float
    deviation: float
    largest: float

    def as_row(self, run: str, window: object) -> dict[str, object]:
        """A row of a table."""
        return {
            "run": run, "window": str(window), "tolerance": self.tolerance, "rounds": round(self.rounds, 1),
            "evaluations": round(self.evaluations), "deviation": self.largest, "rms": self.deviation,
            "seconds": self.seconds,
        }  # fmt: skip


class Contest:
    """Both rivals on one case."""

    def __init__(self, case: RivalCase) -> None:
        self.case = case
        self.prompts = scene_prompts(case.seeds)
        self.rival = build_pipeline(StableDiffusionParadigmsPipeline, case.scheduler)
        self.pipe = build_pipeline(StableDiffusionPipeline, case.scheduler)
        self.truth = [self._run(self.pipe, seed) for seed in range(case.seeds)]

    def _run(self, pipe: Any, seed: int, **options: Any) -> CountedRun:
        return count_run(pipe, self.prompts[seed], seed, num_inference_steps=self.case.steps, **options)

    def average_seeds(self, run: Callable[[int], CountedRun], tolerance: float | None) -> MeanRun:
        """All seeds."""
        runs = [run(seed) for seed in range(self.case.seeds)]
        pairs = list(zip(runs, self.truth, strict=True))
        rounds, evaluations, seconds = (
            sum(getattr(single, name) for single in runs) / len(runs) for name in ("rounds", "evaluations", "seconds")
        )
        away = max(mean_deviation(one.latents, truth.latents) for one, truth in pairs)
        largest = max(largest_deviation(one.latents, truth.latents) for one, truth in pairs)
        return MeanRun(tolerance, rounds, evaluations, seconds, away, largest)

    def run_in_order(self) -> MeanRun:
        """The sequential runs, timed once more now that all is warm."""
        return self.average_seeds(lambda seed: self._run(self.pipe, seed), None)

    def run_theirs(self, window: int, tolerance: float) -> MeanRun:
        """ParaDiGMS."""
        return self.average_seeds(
            lambda seed: self._run(self.rival, seed, parallel=window, tolerance=tolerance), tolerance
        )

    def run_ours(self, tolerance: float | None, **options: Any) -> MeanRun:
        """The ordinary pipeline, ahead."""
        ahead = {"tolerance": tolerance, **options}
        return self.average_seeds(lambda seed: self._run(self.pipe, seed, ahead=ahead), tolerance)

    def find_cheapest(self, run: Callable[[float], MeanRun], grid: Sequence[float]) -> list[MeanRun | None]:
        """At each bound the loosest tolerance that keeps it."""
        cached_run = cache(run)
        sizes = [
            loosest_tolerance(lambda size, b=bound: cached_run(size).largest <= b, grid) for bound in self.case.bounds
        ]
        return [None if size is None else cached_run(size) for size in sizes]


def compare_rivals(case: RivalCase) -> dict[str, str]:
    """The tables of one case: all runs, and the ratios."""
    contest = Contest(case)
    exact, sequential = contest.run_theirs(1, 0.0), contest.run_in_order()
    rows = [sequential.as_row("in order", 1), exact.as_row("ParaDiGMS, its own limit", 1)]
    rows.append(contest.run_ours(None).as_row("forerun, as it is", "auto"))
    ratios: list[Mapping[str, object]] = []
    best: dict[float, list[tuple[MeanRun | None, MeanRun | None]]] = {bound: [] for bound in case.bounds}
    for window in case.windows:
        theirs = contest.find_cheapest(lambda size, w=window: contest.run_theirs(w, size), THEIRS)
        ours = contest.find_cheapest(lambda size, w=window: contest.run_ours(size, window=Sliding(w)), OURS)
        for bound, one, two in zip(case.bounds, theirs, ours, strict=True):
            best[bound].append((one, two))
            for run, mean in (("ParaDiGMS", one), ("forerun", two)):
                if mean is not None:
                    rows.append({"bound": bound, **mean.as_row(run, window)})
            ratios.append(compare_runs(bound, str(window), one, two))
            print(case.name, ratios[-1], flush=True)
    for bound, pairs in best.items():
        ratios.append(best_ratios(bound, pairs))
    rows.sort(key=lambda row: -float(row.get("bound", 1)))
    columns = {"bound": None}
    heading = f"{case.name}: forerun over ParaDiGMS (target: {case.target})"
    return {f"{case.name}": table([{**columns, **row} for row in rows]), heading: table(ratios)}


def compare_runs(bound: float, window: str, theirs: MeanRun | None, ours: MeanRun | None) -> Mapping[str, object]:
    """Ours over theirs at one bound."""
    row: dict[str, object] = {"bound": bound, "window": window}
    if theirs is None or ours is None:
        return row
    return {
        **row, "rounds": ours.rounds / theirs.rounds, "evaluations": ours.evaluations / theirs.evaluations,
        "seconds": ours.seconds / theirs.seconds,
    }  # fmt: skip


def best_ratios(bound: float, pairs: Sequence[tuple[MeanRun | None, MeanRun | None]]) -> Mapping[str, object]:
    """The same where each may take another window for its fewest rounds, and another for its fewest evaluations."""
    smallest = {
        name: [min((getattr(pair[k], name) for pair in pairs if pair[k]), default=float("nan")) for k in (0, 1)]
        for name in ("rounds", "evaluations", "seconds")
    }
    return {"bound": bound, "window": "each its best", **{name: two / one for name, (one, two) in smallest.items()}}


def main() -> None:
    """All cases, or with --quick those of a few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out DDPM 1000")
    parser.add_argument("--only", help="one case, by its name; writes no result")
    arguments = parser.parse_args()
    cases = [
        case for case in CASES if not (arguments.quick and case.steps > 100) and arguments.only in {None, case.name}
    ]
    sections = {"What is measured": f"{__doc__ or ''}\n{describe_weights()}"}
    for case in cases:
        sections |= compare_rivals(case)
    if arguments.only:
        print("\n\n".join(f"{heading}\n{text}" for heading, text in sections.items()))
    else:
        write_result("fewer_rounds_than_paradigms", sections)


if __name__ == "__main__":
    main()
