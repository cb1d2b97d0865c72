"""Demonstrations: what experts did in disturbed episodes, cut into chunks of actions to come."""

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

TRIES = 3  # episodes begun for every demonstration wanted, at most


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
        horizon: int = 16,
        seed: int = 0,
        report: Callable[[int, int], None] = lambda done, tried: None,
    ) -> Demonstrations:
        """Let the expert show a task; failed episodes are left out.

        The disturbance moves the arm, and is not in the actions that are kept: the expert's answers to it are.

        Args:
            task: what is shown.
            count: successful episodes.
            horizon: actions in a chunk.
            seed: of the first episode; the others count on from it.
            report: told the demonstrations so far and the episodes begun.

        Raises:
            RuntimeError: the expert fails too often.
        """
        environment, kept = task.environment(), list[tuple[Tensor, Tensor]]()
        for tried in range(1, TRIES * count + 1):
            shown = _show(environment, task, seed + tried - 1)
            if shown is not None:
                kept.append((shown[0], _chunks(shown[1], horizon)))
            report(len(kept), tried)
            if len(kept) == count:
                return Demonstrations(*(torch.cat(each) for each in zip(*kept, strict=True)))
        raise RuntimeError(
            f"the expert of {task.name} succeeded in {len(kept)} of {TRIES * count} episodes; lower the task's noise"
        )

    @staticmethod
    def load_or_collect(
        task: RobotTask,
        count: int,
        folder: Path,
        *,
        seed: int = 0,
        report: Callable[[int, int], None] = lambda done, tried: None,
    ) -> Demonstrations:
        """The same, kept in a file of `folder`, whose name tells task, count and seed."""
        file = folder / f"{task.name}-{count}-seed-{seed}.safetensors"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            found = Demonstrations.collect(task, count, seed=seed, report=report)
            save_file({"observations": found.observations, "chunks": found.chunks}, file.with_suffix(".tmp"))
            os.replace(file.with_suffix(".tmp"), file)
        return Demonstrations(**load_file(file))


def _show(environment: Environment, task: RobotTask, seed: int) -> tuple[Tensor, Tensor] | None:
    """Observations `(T, observed)` and actions `(T, action)` of one episode; None where it failed."""
    random = np.random.default_rng(seed)
    act, moment = task.expert.begin_episode(random), environment.reset(seed)
    seen, done, left = [], [], task.linger
    succeeded = False
    for _ in range(task.max_steps):
        action = act(moment.scene, environment.features)
        seen.append(torch.tensor(moment.observation, dtype=torch.float32))
        done.append(torch.tensor(action, dtype=torch.float32))
        disturbed = action.copy()
        disturbed[: task.displacements] += task.noise * random.standard_normal(task.displacements)
        moment = environment.step(disturbed)
        succeeded |= moment.success
        left -= succeeded
        if moment.failed or not left:
            break
    return (torch.stack(seen), torch.stack(done)) if succeeded and not moment.failed else None


def _chunks(actions: Tensor, horizon: int) -> Tensor:
    """The actions that come from each step on, `(T, horizon, action)`."""
    steps = torch.arange(len(actions))[:, None] + torch.arange(horizon)
    return actions[steps.clamp(max=len(actions) - 1)]
