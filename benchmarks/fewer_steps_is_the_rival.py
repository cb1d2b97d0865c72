"""Claim: running ahead needs fewer rounds from some 20 steps on; against fewer steps it wins where accuracy counts.

The shipped text-to-image pipeline with six schedulers, 10 to 100 steps, with guidance (3) and without; the rows of flow
matching sample the same network, its prediction rewritten as a flow. Rounds and evaluations are of a full window at
forerun's own tolerance, deviations (root mean square over that of the latents, and the largest number in the same
unit) are from the sequential run: means, and the largest deviation, of the seeds.

The rival needs no library: the same pipeline with as many steps as forerun needs rounds, which takes the same time
where a round costs what a step does, and UniPC with as many. What counts is the distance to the result of 1000 steps
of the same path (DDIM; for the flow, Euler), as root mean square over that of the latents. `auto` is forerun as it is,
`parallel(pipe)`: its rounds on this device, and its time over that of the sequential run, both measured here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from _pipelines import describe_weights
from harness import table, write_result
from torch import Tensor

from forerun import Auto, Full, Sequential
from forerun.diffusion import sample
from forerun.worlds.scenes.counted_run import (
    GUIDANCE_SCALE,
    CountedRun,
    build_pipeline,
    count_run,
    largest_deviation,
    mean_deviation,
    scene_prompts,
    shipped_pipeline,
)

SEEDS, STEPS, FINE = 3, (10, 20, 28, 50, 100), 1000
TRAILING = {"timestep_spacing": "trailing"}
KINDS: dict[str, type | None] = {
    "DDIM": diffusers.DDIMScheduler,
    "DPM++ 2M": diffusers.DPMSolverMultistepScheduler,
    "UniPC": diffusers.UniPCMultistepScheduler,
    "Euler": diffusers.EulerDiscreteScheduler,
    "Heun": diffusers.HeunDiscreteScheduler,
    "Flow Euler": None,
}
BETTER = "UniPC"


@cache
def load_pipeline(kind: str) -> Any:
    """The shipped pipeline with another scheduler."""
    return build_pipeline(diffusers.StableDiffusionPipeline, KINDS[kind], **TRAILING)


def run_image(kind: str, steps: int, guidance: float, seed: int, ahead: Mapping[str, Any] | None = None) -> CountedRun:
    """One image, in order or ahead."""
    prompt = scene_prompts(SEEDS)[seed]
    if KINDS[kind] is None:
        return run_flow(prompt, steps, guidance, seed, ahead)
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    return count_run(load_pipeline(kind), prompt, seed, ahead=ahead, **options)


@torch.no_grad()
def run_flow(prompt: str, steps: int, guidance: float, seed: int, ahead: Mapping[str, Any] | None) -> CountedRun:
    """The network's prediction as a flow from data to noise, with the scheduler of flow matching."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    method = {"method": Sequential()} if ahead is None else {"window": Auto(), **ahead}
    start = time.perf_counter()
    solution = sample(GuidedFlow(prompt, guidance), scheduler, noise, steps=steps, **method)
    rounds, seconds = solution.rounds, time.perf_counter() - start
    return CountedRun(solution.state, rounds, solution.evaluations, rounds, seconds, solution)


class GuidedFlow:
    """`eps - x0` at `x = (1 - s) x0 + s eps`, from a network that was trained on `sqrt(abar) x0 + sqrt(1 - abar) eps`.

    Both are the same up to a factor where their ratios of noise to signal agree, `sqrt(1/abar - 1) = s / (1 - s)`.
    """

    def __init__(self, prompt: str, guidance: float) -> None:
        self.unet, self.guidance = shipped_pipeline().unet, guidance
        positive, negative = shipped_pipeline().encode_prompt(prompt, "cpu", 1, True)
        self.context = [negative, positive] if guidance > 1 else [positive]
        self.abar = shipped_pipeline().scheduler.alphas_cumprod.double()

    def __call__(self, x: Tensor, times: Tensor) -> Tensor:
        """Flows `(N, *shape)` of samples `(N, *shape)` at `times = 1000 s`, `(N,)`."""
        s = times.double() / 1000
        size = ((1 - s) ** 2 + s**2).sqrt()
        abar = ((1 - s) / size).square().clamp_min(float(self.abar[-1]))
        place = torch.searchsorted(-self.abar, -abar).clamp(1, len(self.abar) - 1)
        low, high = self.abar[place], self.abar[place - 1]
        t = place - ((abar - low) / (high - low)).clamp(0, 1)
        signal, noise = (_column(share.sqrt(), x) for share in (abar, 1 - abar))
        scaled = x / _column(size, x)
        v = self._guided(scaled, t.to(x.dtype))
        return (noise * scaled + signal * v) - (signal * scaled - noise * v)

    def _guided(self, x: Tensor, t: Tensor) -> Tensor:
        copies = len(self.context)
        context = torch.cat([branch.expand(len(x), -1, -1) for branch in self.context])
        predicted = self.unet(x.repeat(copies, 1, 1, 1), t.repeat(copies), encoder_hidden_states=context).sample
        first, *guided = predicted.chunk(copies)
        return first if not guided else first + self.guidance * (guided[0] - first)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, 1, 1, 1)


@cache
def fine_latents(kind: str, guidance: float, seed: int) -> Tensor:
    """The latents that 1000 steps lead to."""
    return run_image("Flow Euler" if KINDS[kind] is None else "DDIM", FINE, guidance, seed).latents


@cache
def mean_distance(kind: str, steps: int, guidance: float) -> float:
    """Distance of the sequential run to the result of 1000 steps, mean over the seeds."""
    distances = []
    for seed in range(SEEDS):
        latents = run_image(kind, steps, guidance, seed).latents
        distances.append(mean_deviation(latents, fine_latents(kind, guidance, seed)))
    return statistics.fmean(distances)


def make_row(kind: str, steps: int, guidance: float) -> dict[str, object]:
    """A scheduler at a number of steps."""
    pairs, auto = [], []
    for seed in range(SEEDS):
        in_order = run_image(kind, steps, guidance, seed)
        pairs.append((run_image(kind, steps, guidance, seed, {"window": Full()}), in_order))
        auto.append((run_image(kind, steps, guidance, seed, {}), in_order))
    runs = [one for one, _ in pairs]
    rounds = statistics.fmean(one.rounds for one in runs)
    return {
        "scheduler": kind, "steps": steps, "guidance": guidance, "calls in order": pairs[0][1].rounds,
        "rounds": round(rounds, 1), "evaluations": round(statistics.fmean(one.evaluations for one in runs)),
        "deviation": max(mean_deviation(one.latents, in_order.latents) for one, in_order in pairs),
        "largest": max(largest_deviation(one.latents, in_order.latents) for one, in_order in pairs),
        "auto, rounds": round(statistics.fmean(one.rounds for one, _ in auto), 1),
        "auto, time": statistics.median(one.seconds / in_order.seconds for one, in_order in auto),
        "from 1000 steps": mean_distance(kind, steps, guidance),
        "as many steps as rounds": mean_distance(kind, _steps_of(kind, rounds), guidance),
        f"{BETTER}, as many": mean_distance(BETTER, round(rounds), guidance) if KINDS[kind] else None,
    }  # fmt: skip


def _steps_of(kind: str, rounds: float) -> int:
    """Steps whose sequential run makes as many calls; Heun makes two a step, but for the last."""
    return max(round((rounds + 1) / 2 if kind == "Heun" else rounds), 2)


def main() -> None:
    """All rows, a table for each guidance."""
    sections = {"What is measured": f"{__doc__ or ''}\n{describe_weights()}"}
    for guidance in (GUIDANCE_SCALE, 1.0):
        rows = []
        for kind in KINDS:
            for steps in STEPS:
                rows.append(make_row(kind, steps, guidance))
                print(rows[-1], flush=True)
        sections["With guidance 3" if guidance > 1 else "Without guidance"] = table(rows)
    write_result(Path(__file__).stem, sections)


if __name__ == "__main__":
    main()
