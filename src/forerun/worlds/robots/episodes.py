"""Episodes: a policy acts, a chunk at a time, until the task is done, failed or out of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.worlds.robots.environment import Environment, StepOutcome
from forerun.worlds.robots.path_rules import Array

ChunkActor = Callable[[Tensor], Tensor]  # observations (B, observed) -> chunks of actions (B, horizon, action)
StepCallback = Callable[[Environment], None]
CONFIDENCE_QUANTILE = 1.96  # of the normal distribution, for 95 %


def ignore_step(environment: Environment) -> None:
    """Do nothing after a step."""


@dataclass(frozen=True)
class Episode:
    """How an episode ended.

    Attributes:
        seed: of its beginning.
        success: the task was done in time.
        failed: the path rule was broken.
        reward: mean of its steps, in the units of its environment.
        best: the largest reward of a step: of Push-T the usual measure.
        steps: number of actions executed.
    """

    seed: int
    success: bool
    failed: bool
    reward: float
    best: float
    steps: int


class _RunningEpisode:
    """An episode in its environment, with the rewards so far."""

    def __init__(self, environment: Environment, seed: int) -> None:
        self.environment = environment
        self.seed = seed
        self.outcome: StepOutcome = environment.reset(seed)
        self.rewards: list[float] = []

    @property
    def has_ended(self) -> bool:
        """Whether the task is done, failed or out of time."""
        if self.outcome.success or self.outcome.failed:
            return True
        return len(self.rewards) >= self.environment.task.max_steps

    def execute(self, actions: Array, on_step: StepCallback) -> None:
        """Take actions `(K, action)` until the episode ends."""
        for action in actions:
            if self.has_ended:
                return
            self.outcome = self.environment.step(action)
            self.rewards.append(self.outcome.reward)
            on_step(self.environment)

    def summary(self) -> Episode:
        """Return how the episode ended."""
        return Episode(
            seed=self.seed,
            success=self.outcome.success,
            failed=self.outcome.failed,
            reward=sum(self.rewards) / len(self.rewards),
            best=max(self.rewards),
            steps=len(self.rewards),
        )


def run_episodes(
    environments: Sequence[Environment],
    act: ChunkActor,
    seeds: Sequence[int],
    *,
    executed: int = 8,
    on_step: StepCallback = ignore_step,
) -> list[Episode]:
    """Run one episode in every environment, in lockstep: all act together on one batch of observations.

    Args:
        environments: `B` of them, with one task.
        act: the policy, reset by the caller.
        seeds: of the episodes, `B`.
        executed: actions of a chunk that are executed.
        on_step: called after every step of an environment.

    Returns:
        Episodes in the order of the seeds. One that has ended stands still while the others go on.
    """
    episodes = [_RunningEpisode(*pair) for pair in zip(environments, seeds, strict=True)]
    while not all(episode.has_ended for episode in episodes):
        observations = [torch.tensor(episode.outcome.observation, dtype=torch.float32) for episode in episodes]
        chunks = act(torch.stack(observations)).double().numpy()
        for episode, chunk in zip(episodes, chunks, strict=True):
            episode.execute(chunk[:executed], on_step)
    return [episode.summary() for episode in episodes]


def success_interval(successes: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a rate, from `successes` of `count` (Wilson 1927)."""
    z = CONFIDENCE_QUANTILE
    rate = successes / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5 / (1 + z * z / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)
