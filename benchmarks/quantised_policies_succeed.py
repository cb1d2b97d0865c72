"""Claim: the shipped policy of the arm does its task as well with weights of 4 bits.

`pick-place`, DDIM with 15 steps in order, chunks of 16 actions of which 8 are executed, the same episodes and noise for
all. Calibration runs the policy itself in ten other episodes. `largest error` is that of a layer's outputs on the
calibration data; `chunk` is how far the chunks of one batch of observations are from those of the float policy, root
mean square in the units of diffusion. All weights but biases and norms are quantised; `kB` are those of the file's
tensors. The interval is Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
from functools import cache, partial
from typing import Any

import torch
from _policies import ddim, load_policy
from harness import table, write_result
from torch import Tensor, nn

from forerun.optim.quantization import GPTQ, CoordinateDescent, Rounding, RoundToNearest, quantize
from forerun.worlds.robots import tasks
from forerun.worlds.robots.environment import Environment
from forerun.worlds.robots.episodes import run_episodes, success_interval
from forerun.worlds.robots.in_order import InOrderSampler

STEPS = 15
BLOCK = 10  # episodes in lockstep
CALIBRATION_SEEDS = range(20_000, 20_010)
FIRST_SEED = 10_000
ROUNDINGS: dict[str, Rounding] = {
    "round to nearest": RoundToNearest(),
    "GPTQ": GPTQ(),
    "coordinate descent": CoordinateDescent(),
    "coordinate descent after GPTQ": CoordinateDescent(first=GPTQ()),
}


@cache
def shared_environments(count: int) -> list[Environment]:
    """Return environments that serve all episodes: a seed decides all of each."""
    return [tasks.PICK_PLACE.environment() for _ in range(count)]


def act_in_order(policy: Any, network: nn.Module, seeds: range) -> list[Any]:
    """Let a network act in episodes with some seeds."""
    shape = policy.shape
    loop = InOrderSampler(network, ddim(policy), (len(seeds), shape.horizon, shape.action), steps=STEPS, seed=0)
    environments = shared_environments(len(seeds))

    def act(observations: Tensor) -> Tensor:
        return policy.decode_chunks(loop.act(observations))

    return run_episodes(environments, act, list(seeds))


def measure_network(policy: Any, network: nn.Module, episodes: int, truth: Tensor | None) -> dict[str, Any]:
    """Count successes, and compare chunks with those of the float policy."""
    blocks = [range(seed, seed + BLOCK) for seed in range(FIRST_SEED, FIRST_SEED + episodes, BLOCK)]
    wins = sum(episode.success for seeds in blocks for episode in act_in_order(policy, network, seeds))
    low, high = success_interval(wins, episodes)
    chunks = sample_chunks(policy, network)
    distance = 0.0 if truth is None else float((chunks - truth).square().mean().sqrt())
    return {"success": f"{wins}/{episodes}", "95 %": f"{100 * low:.0f}-{100 * high:.0f}", "chunk": distance}


def sample_chunks(policy: Any, network: nn.Module) -> Tensor:
    """Return chunks for observations at the beginnings of 64 episodes."""
    observations = []
    for seed in range(64):
        outcome = shared_environments(1)[0].reset(30_000 + seed)
        observations.append(torch.tensor(outcome.observation, dtype=torch.float32))
    shape = policy.shape
    loop = InOrderSampler(network, ddim(policy), (64, shape.horizon, shape.action), steps=STEPS, seed=1)
    return loop.act(torch.stack(observations))


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=50)
    episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    policy = load_policy("pick-place")
    truth = sample_chunks(policy, policy)
    rows = [{"weights": "float32", "rounding": "", **measure_network(policy, policy, episodes, None)}]
    rows[0] |= {"largest error": 0.0, "kB": sum(t.nbytes for t in policy.state_dict().values()) / 1e3}
    calibrate = partial(act_in_order, policy, seeds=CALIBRATION_SEEDS)
    for bits in (4, 3, 2):
        for name, rounding in ROUNDINGS.items():
            quantized = quantize(policy, calibrate, bits, rounding=rounding)
            row = {"weights": f"{bits} bit", "rounding": name}
            row |= measure_network(policy, quantized.model, episodes, truth)
            row |= {
                "largest error": max(layer.error for layer in quantized.layers),
                "kB": quantized.packed_bytes / 1e3,
            }
            rows.append(row)
            print(row, flush=True)
    write_result("quantised_policies_succeed", {"What is measured": __doc__ or "", "pick-place": table(rows)})


if __name__ == "__main__":
    main()
