"""Claim: far ahead a skeleton of steps is enough for text to image too: fewer evaluations at the same deviation.

The shipped text-to-image pipeline with guidance 3, float32, through `parallel`, unchecked. The densities are those of
`a_skeleton_is_enough_ahead.py`. All are held to the same largest deviation of any number of the latents from those of
the sequential run, 1e-2 of their root mean square: each gets the loosest tolerance, of a grid of ratio 0.7, that
keeps it. One seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from _pipelines import describe_weights
from a_skeleton_is_enough_ahead import DENSITIES, CountedSolve, average_runs, describe_densities, describe_row
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from harness import table, write_result

from forerun import Sliding
from forerun.engine.windows import Window
from forerun.studies.equal_deviation import loosest_tolerance
from forerun.worlds.scenes.counted_run import build_pipeline, count_run, scene_prompts

PIPELINE_GRID = [4e-3 * 0.7**power for power in range(14)]
SEEDS = 1


@dataclass(frozen=True)
class ImageCase:
    """A scheduler on the shipped pipeline, with a window and the densities that are tried."""

    scheduler: type
    steps: int
    width: int
    rules: Sequence[str]


CASES = [
    ImageCase(DDIMScheduler, 50, 50, ("every step", "as it is", "early", "bold")),
    ImageCase(DDIMScheduler, 100, 100, ("every step", "as it is", "early", "bold")),
    ImageCase(DDPMScheduler, 1000, 100, ("every step", "thin")),
]


def compare_pipeline(case: ImageCase, target: float) -> str:
    """Return the table of one scheduler on the shipped pipeline, unchecked."""
    scheduler, steps = case.scheduler, case.steps
    pipe = build_pipeline(StableDiffusionPipeline, scheduler)
    prompts = scene_prompts(SEEDS)
    exact = [count_run(pipe, prompts[seed], seed, num_inference_steps=steps) for seed in range(SEEDS)]
    rows = []
    for name in case.rules:
        window = Sliding(case.width, DENSITIES[name])
        runs = [find_cheapest_image(pipe, prompts, exact, seed, window, steps, target) for seed in range(SEEDS)]
        rows.append(describe_row(name, window, steps, SEEDS, average_runs(runs)))
        print(scheduler.__name__, steps, rows[-1], flush=True)
    return table(rows)


def find_cheapest_image(
    pipe: Any, prompts: Sequence[str], exact: Sequence[Any], seed: int, window: Window, steps: int, target: float
) -> CountedSolve:
    """Return the run of the loosest tolerance that keeps the target."""

    @cache
    def run(size: float) -> CountedSolve:
        ahead = {"tolerance": size, "window": window, "check": False}
        counted = count_run(pipe, prompts[seed], seed, ahead=ahead, num_inference_steps=steps)
        assert counted.solution is not None, "the pipeline ran ahead"
        evaluations = counted.solution.evaluations
        return CountedSolve(counted.rounds, evaluations, counted.largest_deviation(exact[seed]))

    size = loosest_tolerance(lambda value: run(value).deviation <= target, PIPELINE_GRID)
    return run(PIPELINE_GRID[-1] if size is None else size)


def main() -> None:
    """All tables."""
    sections = {"What is measured": f"{__doc__ or ''}\n{describe_weights()}", "The densities": describe_densities()}
    for case in CASES:
        heading = f"{case.scheduler.__name__}, {case.steps} steps, deviation <= 1e-2"
        sections[heading] = compare_pipeline(case, 1e-2)
    write_result("a_skeleton_is_enough_for_images", sections)


if __name__ == "__main__":
    main()
