"""Claim: a policy that predicts the denoised sample keeps its success under DDIM's default settings.

A scheduler of diffusers clips the denoised sample to [-1, 1] where a policy predicts noise (`clip_sample`, on by
default), and DDIM then goes on with the noise that was predicted before, unless told `use_clipped_model_output=True`;
with eta 1 the difference is drowned in fresh noise. A policy that predicts the sample needs no clipping. Both kinds
were trained alike (`forerun train-policy pick-place`, and the same with `--prediction epsilon`), and sampled in order,
100 fresh episodes of pick-place each, 25 arms in lockstep.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from _policies import FIRST_EPISODE_SEED, cached_cell, ddim, load_policy
from harness import table, write_result
from torch import Tensor

from forerun.worlds.robots import tasks
from forerun.worlds.robots.episodes import ChunkActor, run_episodes, success_interval
from forerun.worlds.robots.policy import ChunkPolicy

ARMS, EPISODES = 25, 100
SAMPLERS: dict[str, tuple[bool, int, Mapping[str, Any]]] = {  # whether DDIM, steps, options of its step
    "DDPM 100": (False, 100, {}),
    "DDIM 100": (True, 100, {}),
    "DDIM 15": (True, 15, {}),
    "DDIM 10": (True, 10, {}),
    "DDIM 10, use_clipped_model_output": (True, 10, {"use_clipped_model_output": True}),
    "DDIM 10, eta 1": (True, 10, {"eta": 1.0}),
}


def main() -> None:
    """Both policies, every sampler."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epsilon", type=Path, help="folder of the policy that predicts noise; else only the other")
    options = parser.parse_args()
    rows = []
    policies = {"sample": "pick-place"} | ({"epsilon": str(options.epsilon)} if options.epsilon else {})
    for kind, name in policies.items():
        for label in SAMPLERS:
            wins = cached_cell(f"flags, {kind}, {label}", lambda n=name, each=label: successes(load_policy(n), each))
            low, high = success_interval(wins, EPISODES)
            rows.append({"prediction": kind, "sampler": label, "success": f"{wins}/{EPISODES}",
                         "95 %": f"{100 * low:.0f}-{100 * high:.0f}"})  # fmt: skip
            print(rows[-1], flush=True)
    sections = {"What is measured": __doc__ or "", "Success": table(rows)}
    write_result("a_policy_that_predicts_samples_suits_ddim", sections)


def successes(policy: ChunkPolicy, label: str) -> int:
    """Of fresh episodes."""
    generator, environments = torch.Generator().manual_seed(0), [tasks.PICK_PLACE.environment() for _ in range(ARMS)]
    act = loop(policy, label, generator)
    found = []
    for first in range(FIRST_EPISODE_SEED, FIRST_EPISODE_SEED + EPISODES, ARMS):
        found += run_episodes(environments, act, range(first, first + ARMS))
    return sum(episode.success for episode in found)


def loop(policy: ChunkPolicy, label: str, generator: torch.Generator) -> ChunkActor:
    """The loop as users of diffusers write it."""
    other, steps, options = SAMPLERS[label]
    scheduler = ddim(policy) if other else policy.scheduler
    scheduler.set_timesteps(steps)

    @torch.no_grad()
    def act(observation: Tensor) -> Tensor:
        sample = torch.randn(len(observation), policy.shape.horizon, policy.shape.action, generator=generator)
        for t in scheduler.timesteps:
            predicted = policy(sample, t.expand(len(observation)), observation)
            sample = scheduler.step(predicted, t, sample, generator=generator, **options).prev_sample
        return policy.decode_chunks(sample)

    return act


if __name__ == "__main__":
    main()
