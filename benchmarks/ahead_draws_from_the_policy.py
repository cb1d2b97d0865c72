"""Claim: what is sampled ahead comes from the policy's own distribution; real-time iteration's does not.

At fixed observations, chunks of many seeds are compared with chunks of the plain loop. In `pillar` they are what the
expert sees when it first holds the object and has not yet chosen a side, at four places where the policy takes either
side at times; a run first answers what was seen 16 and 8 steps before, so that what it carries over is in its answer.
In `pick-place` they are the second, fourth and sixth of episodes in order, after all before them. RTI is real-time
iteration with its gripper left as it is. A deadline is kept by the wall's clock. The tolerance ahead is 1e-2.

The distance is the energy distance (Szekely and Rizzo 2013) of the actions that are executed, divided by twice the mean
distance between the two kinds: 0 for the same distribution, 1 for two points; its mean and its largest over the
observations. That of the plain loop with other seeds tells what chance makes of no difference; an unbiased estimate may
be below zero. Spread is the median, over the numbers of the executed actions, of their standard deviation divided by
that of the plain loop: below one, variety was lost. Left is the share of chunks that go round the pillar by the left,
at each observation. Between is the share that does neither clearly: it moves sideways, over its 16 actions, by less
than half the median of the plain loop's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from _policies import (
    FIRST_EPISODE_SEED,
    AheadRival,
    PolicyRival,
    cached_cell,
    ddim,
    load_policy,
    record_observations,
    shared_environment,
)
from harness import table, write_result
from torch import Tensor

from forerun.policy import RTI, Deadline, Exact, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.experts import GRIPPER_CLOSED, GRIPPER_OPENING, measure_side
from forerun.worlds.robots.in_order import InOrderSampler
from forerun.worlds.robots.policy import ChunkPolicy

CHUNKS, EXECUTED = 120, 8
Make = Callable[[ChunkPolicy, int], PolicyRival]
RIVALS: dict[str, Make] = {
    "DDPM 100, exact": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=Exact()),
    "DDPM 100, warm": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=Warm()),
    "DDPM 100, deadline 5 ms": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=Deadline(5)),
    "DDPM 100, deadline 10 ms": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=Deadline(10)),
    "DDPM 100, deadline 20 ms": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=Deadline(20)),
    "RTI 3 steps": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=RTI(3)),
    "RTI 15 steps": lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=RTI(15)),
}

IN_ORDER: dict[str, tuple[Callable[[ChunkPolicy], Any], int, int]] = {  # scheduler, steps, seed
    "DDPM 100, in order": (lambda p: p.scheduler, 100, 0),
    "DDPM 100, in order, other seeds": (lambda p: p.scheduler, 100, 77),
    "DDIM 100, in order": (ddim, 100, 0),
    "DDIM 15, in order": (ddim, 15, 0),
    "DDIM 10, in order": (ddim, 10, 0),
}


def main() -> None:
    """A table a task."""
    sections = {"What is measured": __doc__ or ""}
    for task in (tasks.PILLAR, tasks.PICK_PLACE):
        policy = load_policy(task.name)
        streams = undecided(task, policy) if task is tasks.PILLAR else plain_ones(task, policy)
        found: dict[str, list[Tensor]] = {name: [] for name in (*IN_ORDER, *RIVALS)}
        for number, stream in enumerate(streams):
            for name in IN_ORDER:
                found[name].append(many(policy, stream[-1], 4 * CHUNKS, number, name))
            for name, make in RIVALS.items():
                cell = f"distribution, {task.name}, {name}, {number}"
                found[name].append(torch.tensor(cached_cell(cell, partial(draw, policy, make, stream))))
            print(task.name, number, flush=True)
        truth = found["DDPM 100, in order"]
        sections[f"{task.name}, {len(streams)} observations"] = table(
            [row(policy, name, each, truth, streams) for name, each in found.items()]
        )
    write_result("ahead_draws_from_the_policy", sections)


def undecided(task: RobotTask, policy: ChunkPolicy, begun: int = 10) -> list[list[Tensor]]:
    """What the expert observes when it first holds the object, after what it observed 16 and 8 steps before.

    Of ten episodes, those where the policy is undecided: with 200 demonstrations it prefers a side at many places.
    """
    found = [approach(task, FIRST_EPISODE_SEED + number) for number in range(begun)]
    shares = [float((sides(policy, many(policy, each[-1], 200, 5), each[-1]) > 0).float().mean()) for each in found]
    return [each for each, share in zip(found, shares, strict=True) if 0.1 < share < 0.9][:4]


def approach(task: RobotTask, seed: int) -> list[Tensor]:
    """Of one episode."""
    environment, act = shared_environment(task), task.expert.begin_episode(np.random.default_rng(seed))
    moment, seen = environment.reset(seed), []
    while moment.scene[GRIPPER_OPENING] > GRIPPER_CLOSED or not seen:
        seen.append(torch.tensor(moment.observation, dtype=torch.float32)[None])
        moment = environment.step(act(moment.scene, environment.features))
    seen.append(torch.tensor(moment.observation, dtype=torch.float32)[None])
    return seen[-17::8]


def plain_ones(task: RobotTask, policy: ChunkPolicy) -> list[list[Tensor]]:
    """Observations up to the second, fourth and sixth tick of three episodes."""
    return [episode[:stop] for episode, stop in zip(record_observations(task, policy, 3), (2, 4, 6), strict=True)]


def many(policy: ChunkPolicy, seen: Tensor, count: int, seed: int, name: str = "DDPM 100, in order") -> Tensor:
    """Chunks `(count, H, A)` of a plain loop for one observation, in one batch, as nothing is carried over."""
    scheduler, steps, shift = IN_ORDER[name]
    shape = (count, policy.shape.horizon, policy.shape.action)
    return InOrderSampler(policy, scheduler(policy), shape, steps=steps, seed=1_000_000 + shift + seed).act(
        seen.expand(count, -1)
    )


def draw(policy: ChunkPolicy, make: Make, stream: Sequence[Tensor]) -> list[Any]:
    """Chunks of a rival at the last observation of a stream, one of every seed."""
    chunks, rival = [], make(policy, 31)
    for _ in range(CHUNKS):
        rival.reset()
        for seen in stream:
            chunk = rival.tick(seen).chunk
        chunks.append(chunk[0].tolist())
    return chunks


def sides(policy: ChunkPolicy, chunks: Tensor, seen: Tensor) -> Tensor:
    """How far chunks go to the left of the pillar, in actions."""
    pillar, goal = seen[0, 25:27].double().numpy(), seen[0, 22:25].double().numpy()
    return torch.tensor(measure_side(policy.decode_chunks(chunks).double().numpy(), pillar, goal))


def row(
    policy: ChunkPolicy, name: str, drawn: Sequence[Tensor], truth: Sequence[Tensor], streams: Any
) -> dict[str, Any]:
    """A rival's figures."""
    pairs = list(zip(drawn, truth, strict=True))
    found: dict[str, Any] = {
        "run": name,
        "energy distance": statistics.fmean(energy(one, other) for one, other in pairs),
        "largest": max(energy(one, other) for one, other in pairs),
        "spread": statistics.fmean(spread(one, other) for one, other in pairs),
    }
    if policy.shape.observed == 27:
        shares, between = [], []
        for (one, other), stream in zip(pairs, streams, strict=True):
            mine, theirs = (sides(policy, each, stream[-1]) for each in (one, other))
            shares.append(float((mine > 0).double().mean()))
            between.append(float((mine.abs() < theirs.abs().median() / 2).double().mean()))
        found |= {"left": " ".join(f"{share:.2f}" for share in shares), "between": statistics.fmean(between)}
    return found


def spread(one: Tensor, other: Tensor) -> float:
    """Median over the numbers of the executed actions of one's standard deviation over the other's."""
    return float((one[:, :EXECUTED].std(0) / other[:, :EXECUTED].std(0)).median())


def energy(one: Tensor, other: Tensor) -> float:
    """Energy distance of two sets of chunks over twice their mean distance, without bias."""
    x, y = (each[:, :EXECUTED].flatten(1) for each in (one, other))
    within = [torch.pdist(each).mean() for each in (x, y)]
    between = torch.cdist(x, y).mean()
    return float((2 * between - within[0] - within[1]) / (2 * between))


if __name__ == "__main__":
    main()
