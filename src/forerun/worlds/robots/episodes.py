"""Episodes: a policy acts, a chunk at a time, until the task is done, failed or out of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.worlds.robots.environment import Environment, StepOutcome

ChunkActor = Callable[[Tensor], Tensor]  # observations (B, observed) -> chunks of actions (B, horizon, action)


@dataclass(frozen=True)
class Episode:
    """How one ended.

    Attributes:
        seed: of its beginning.
        success: the task was done in time.
        failed: the path_rule was broken.
        reward: mean of its steps, in the units of its environment.
        best: the largest reward of a step: of Push-T the usual measure.
        steps: taken.
    """

    seed: int
    success: bool
    failed: bool
    reward: float
    best: float
    steps: int


def run_episodes(
    environments: Sequence[Environment],
    act: ChunkActor,
    seeds: Sequence[int],
    *,
    executed: int = 8,
    on_step: Callable[[Environment], None] = lambda environment: None,
) -> list[Episode]:
    """One episode in every environment, in lockstep: all act together on one batch of observations.

    Args:
        environments: `B` of them, with one task.
        act: the policy, reset by the caller.
        seeds: of the episodes, `B`.
        executed: actions taken of every chunk.
        on_step: called after every step of an environment.

    Returns:
        Episodes in the order of the seeds. One that has ended stands still while the others go on.
    """
    moments = [environment.reset(seed) for environment, seed in zip(environments, seeds, strict=True)]
    rewards: list[list[float]] = [[] for _ in environments]
    while not all(_over(*each) for each in zip(environments, moments, rewards, strict=True)):
        seen = torch.stack([torch.tensor(moment.observation, dtype=torch.float32) for moment in moments])
        chunks = act(seen).double().numpy()
        for k, environment in enumerate(environments):
            for action in chunks[k, :executed]:
                if _over(environment, moments[k], rewards[k]):
                    break
                moments[k] = environment.step(action)
                rewards[k].append(moments[k].reward)
                on_step(environment)
    return [
        Episode(seed, moment.success, moment.failed, sum(earned) / len(earned), max(earned), len(earned))
        for seed, moment, earned in zip(seeds, moments, rewards, strict=True)
    ]


def success_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate, from `successes` of `count` (Wilson 1927)."""
    z, rate = 1.96, successes / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5 / (1 + z * z / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _over(environment: Environment, moment: StepOutcome, rewards: list[float]) -> bool:
    return moment.success or moment.failed or len(rewards) >= environment.task.max_steps
