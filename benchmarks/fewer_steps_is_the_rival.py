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
from _pipelines import GUIDANCE, Counted, built, counted, distance, furthest, prompts, shipped, weights
from harness import table, write_result
from torch import Tensor

from forerun import Auto, Full, Sequential
from forerun.diffusion import sample

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
def pipeline(kind: str) -> Any:
    """The shipped pipeline with another scheduler."""
    return built(diffusers.StableDiffusionPipeline, KINDS[kind], **TRAILING)


def run(kind: str, steps: int, guidance: float, seed: int, ahead: Mapping[str, Any] | None = None) -> Counted:
    """One image, in order or ahead."""
    prompt = prompts(SEEDS)[seed]
    if KINDS[kind] is None:
        return flow(prompt, steps, guidance, seed, ahead)
    options = {"num_inference_steps": steps, "guidance_scale": guidance}
    return counted(pipeline(kind), prompt, seed, ahead=ahead, **options)


@torch.no_grad()
def flow(prompt: str, steps: int, guidance: float, seed: int, ahead: Mapping[str, Any] | None) -> Counted:
    """The network's prediction as a flow from data to noise, with the scheduler of flow matching."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    method = {"method": Sequential()} if ahead is None else {"window": Auto(), **ahead}
    begun = time.perf_counter()
    found = sample(Flow(prompt, guidance), scheduler, noise, steps=steps, **method)
    return Counted(found.state, found.rounds, found.evaluations, time.perf_counter() - begun, found)


class Flow:
    """`eps - x0` at `x = (1 - s) x0 + s eps`, from a network that was trained on `sqrt(abar) x0 + sqrt(1 - abar) eps`.

    Both are the same up to a factor where their ratios of noise to signal agree, `sqrt(1/abar - 1) = s / (1 - s)`.
    """

    def __init__(self, prompt: str, guidance: float) -> None:
        self.unet, self.guidance = shipped().unet, guidance
        positive, negative = shipped().encode_prompt(prompt, "cpu", 1, True)
        self.context = [negative, positive] if guidance > 1 else [positive]
        self.abar = shipped().scheduler.alphas_cumprod.double()

    def __call__(self, x: Tensor, times: Tensor) -> Tensor:
        """Flows `(N, *shape)` of samples `(N, *shape)` at `times = 1000 s`, `(N,)`."""
        s = times.double() / 1000
        size = ((1 - s) ** 2 + s**2).sqrt()
        abar = ((1 - s) / size).square().clamp_min(float(self.abar[-1]))
        place = torch.searchsorted(-self.abar, -abar).clamp(1, len(self.abar) - 1)
        low, high = self.abar[place], self.abar[place - 1]
        t = place - ((abar - low) / (high - low)).clamp(0, 1)
        signal, noise = (_column(each.sqrt(), x) for each in (abar, 1 - abar))
        scaled = x / _column(size, x)
        v = self._guided(scaled, t.to(x.dtype))
        return (noise * scaled + signal * v) - (signal * scaled - noise * v)

    def _guided(self, x: Tensor, t: Tensor) -> Tensor:
        copies = len(self.context)
        context = torch.cat([each.expand(len(x), -1, -1) for each in self.context])
        found = self.unet(x.repeat(copies, 1, 1, 1), t.repeat(copies), encoder_hidden_states=context).sample
        first, *rest = found.chunk(copies)
        return first if not rest else first + self.guidance * (rest[0] - first)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, 1, 1, 1)


@cache
def truth(kind: str, guidance: float, seed: int) -> Tensor:
    """The latents that 1000 steps lead to."""
    return run("Flow Euler" if KINDS[kind] is None else "DDIM", FINE, guidance, seed).latents


@cache
def away(kind: str, steps: int, guidance: float) -> float:
    """Distance of the sequential run to the result of 1000 steps, mean over the seeds."""
    found = [
        distance(run(kind, steps, guidance, seed).latents, truth(kind, guidance, seed)) for seed in range(SEEDS)
    ]  # fmt: skip
    return statistics.fmean(found)


def row(kind: str, steps: int, guidance: float) -> dict[str, object]:
    """A scheduler at a number of steps."""
    pairs, auto = [], []
    for seed in range(SEEDS):
        own = run(kind, steps, guidance, seed)
        pairs.append((run(kind, steps, guidance, seed, {"window": Full()}), own))
        auto.append((run(kind, steps, guidance, seed, {}), own))
    found = [one for one, _ in pairs]
    rounds = statistics.fmean(one.rounds for one in found)
    return {
        "scheduler": kind, "steps": steps, "guidance": guidance, "calls in order": pairs[0][1].rounds,
        "rounds": round(rounds, 1), "evaluations": round(statistics.fmean(one.evaluations for one in found)),
        "deviation": max(distance(one.latents, own.latents) for one, own in pairs),
        "largest": max(furthest(one.latents, own.latents) for one, own in pairs),
        "auto, rounds": round(statistics.fmean(one.rounds for one, _ in auto), 1),
        "auto, time": statistics.median(one.seconds / own.seconds for one, own in auto),
        "from 1000 steps": away(kind, steps, guidance),
        "as many steps as rounds": away(kind, _steps_of(kind, rounds), guidance),
        f"{BETTER}, as many": away(BETTER, round(rounds), guidance) if KINDS[kind] else None,
    }  # fmt: skip


def _steps_of(kind: str, rounds: float) -> int:
    """Steps whose sequential run makes as many calls; Heun makes two a step, but for the last."""
    return max(round((rounds + 1) / 2 if kind == "Heun" else rounds), 2)


def main() -> None:
    """All rows, a table for each guidance."""
    sections = {"What is measured": f"{__doc__ or ''}\n{weights()}"}
    for guidance in (GUIDANCE, 1.0):
        rows = []
        for kind in KINDS:
            for steps in STEPS:
                rows.append(row(kind, steps, guidance))
                print(rows[-1], flush=True)
        sections["With guidance 3" if guidance > 1 else "Without guidance"] = table(rows)
    write_result(Path(__file__).stem, sections)


if __name__ == "__main__":
    main()
