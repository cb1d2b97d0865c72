"""Demonstrations: what experts did in disturbed episodes, cut into chunks of the actions to come."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from forerun.worlds.robots.environment import Environment, RobotTask

TRIES_PER_DEMONSTRATION = 3  # episodes begun for every demonstration, at most
CHUNK_HORIZON = 16  # actions in a chunk
CollectionReport = Callable[[int, int], None]  # (demonstrations so far, episodes begun) -> nothing


def ignore_collection(demonstrations: int, episodes: int) -> None:
    """Report nothing of a collection."""


@final
@dataclass(frozen=True)
class Demonstrations:
    """Observations and the chunks of actions that followed them.

    Attributes:
        observations: float32 `(N, observed)`.
        chunks: float32 `(N, horizon, action)`, in the environment's units; the last action is repeated at the end.
    """

    observations: Tensor
    chunks: Tensor

    @staticmethod
    def collect(
        task: RobotTask,
        count: int,
        *,
        horizon: int = CHUNK_HORIZON,
        seed: int = 0,
        report: CollectionReport = ignore_collection,
    ) -> Demonstrations:
        """Let the expert show a task; failed episodes are left out.

        The disturbance moves the arm, and is not in the actions that are learnt: the expert's answers to it are.

        Args:
            task: what is shown.
            count: successful episodes.
            horizon: actions in a chunk.
            seed: of the first episode; the others count on from it.
            report: called with the demonstrations so far and the episodes begun.

        Raises:
            RuntimeError: the expert fails too often.
        """
        environment = task.environment()
        observations: list[Tensor] = []
        chunks: list[Tensor] = []
        max_episodes = TRIES_PER_DEMONSTRATION * count
        for episode in range(max_episodes):
            demonstration = _demonstrate(environment, task, seed + episode)
            if demonstration is not None:
                observations.append(demonstration.observations)
                chunks.append(_cut_chunks(demonstration.actions, horizon))
            report(len(chunks), episode + 1)
            if len(chunks) == count:
                return Demonstrations(torch.cat(observations), torch.cat(chunks))
        raise RuntimeError(
            f"the expert of {task.name} succeeded in {len(chunks)} of {max_episodes} episodes; lower the task's noise"
        )

    @staticmethod
    def load_or_collect(
        task: RobotTask,
        count: int,
        folder: Path,
        *,
        seed: int = 0,
        report: CollectionReport = ignore_collection,
    ) -> Demonstrations:
        """Return the demonstrations of a file, named by task, count and seed; collect them where it is missing."""
        file = folder / f"{task.name}-{count}-seed-{seed}.safetensors"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            collected = Demonstrations.collect(
                task,
                count,
                seed=seed,
                report=report,
            )
            unfinished = file.with_suffix(".tmp")
            save_file({"observations": collected.observations, "chunks": collected.chunks}, unfinished)
            os.replace(unfinished, file)
        return Demonstrations(**load_file(file))


@dataclass(frozen=True)
class _Demonstration:
    """One successful episode: observations `(T, observed)` and actions `(T, action)`."""

    observations: Tensor
    actions: Tensor


def _demonstrate(
    environment: Environment,
    task: RobotTask,
    seed: int,
) -> _Demonstration | None:
    """Let the expert do one disturbed episode; return None where it failed."""
    rng = np.random.default_rng(seed)
    act = task.expert.begin_episode(rng)
    outcome = environment.reset(seed)
    observations: list[Tensor] = []
    actions: list[Tensor] = []
    succeeded = False
    remaining_linger = task.linger
    for _ in range(task.max_steps):
        action = act(outcome.scene, environment.features)
        observations.append(torch.tensor(outcome.observation, dtype=torch.float32))
        actions.append(torch.tensor(action, dtype=torch.float32))
        disturbed = action.copy()
        disturbed[: task.displacements] += task.noise * rng.standard_normal(task.displacements)
        outcome = environment.step(disturbed)
        succeeded |= outcome.success
        remaining_linger -= succeeded
        if outcome.failed or not remaining_linger:
            break
    if outcome.failed or not succeeded:
        return None
    return _Demonstration(torch.stack(observations), torch.stack(actions))


def _cut_chunks(actions: Tensor, horizon: int) -> Tensor:
    """Return the actions that come from each step on, `(T, horizon, action)`."""
    steps = torch.arange(len(actions))[:, None] + torch.arange(horizon)
    return actions[steps.clamp(max=len(actions) - 1)]
