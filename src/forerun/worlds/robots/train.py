"""Training a policy on demonstrations."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.networks import ChunkShape
from forerun.worlds.robots.policy import ChunkPolicy
from forerun.worlds.training import TrainingStage, read_records, train_network


@dataclass(frozen=True)
class PolicySize:
    """A network and how long it is trained.

    Args:
        network: "perceptron" or "unet".
        settings: of its class.
        steps: of the training, unless told otherwise.
    """

    network: str
    settings: Mapping[str, int]
    steps: int


SMALL_POLICY = PolicySize("perceptron", MappingProxyType({"width": 192, "blocks": 3}), 12000)  # 0.3 M parameters
MEDIUM_POLICY = PolicySize("perceptron", MappingProxyType({"width": 480, "blocks": 4}), 6000)  # 2 M
LARGE_POLICY = PolicySize("perceptron", MappingProxyType({"width": 976, "blocks": 5}), 3000)  # 10 M
UNET_POLICY = PolicySize("unet", MappingProxyType({"width": 96}), 3000)  # 1.2 M


@dataclass(frozen=True)
class PolicyTraining:
    """Of one training run.

    Args:
        size: the network.
        steps: of the optimiser.
        seed: of weights, batches and noise.
        prediction: what the network predicts: "epsilon" or "sample".
        gripper: see `ChunkPolicy.measure`.
        batch: chunks a step.
        rate: the largest learning rate.
        horizon: steps that the average of the weights looks back.
    """

    size: PolicySize
    steps: int
    seed: int = 0
    prediction: str = "sample"
    gripper: float = 1.0
    batch: int = 128
    rate: float = 1e-3
    horizon: int = 1000


def fit_policy(task: RobotTask, shown: Demonstrations, settings: PolicyTraining, work: Path) -> ChunkPolicy:
    """The averaged policy after all steps; `work` keeps the state, from which the same call goes on.

    Args:
        task: names the state's file.
        shown: what is learnt.
        settings: of the run.
        work: a folder.
    """
    policy = _untrained(shown, settings)
    often = max(1, settings.steps // 20)
    stage = TrainingStage(
        name=run_name(task, settings),
        steps=settings.steps,
        rate=settings.rate,
        horizon=settings.horizon,
        save_every=often,
        report_every=often,
    )
    work.mkdir(parents=True, exist_ok=True)
    batch_loss = partial(_loss, shown=shown, batch=settings.batch)
    return train_network(policy, batch_loss, stage, work, seed=settings.seed).network


def run_name(task: RobotTask, settings: PolicyTraining) -> str:
    """Of a run's state in its folder: the settings that make it what it is."""
    width = settings.size.settings["width"]
    size = (settings.size.network, width, settings.prediction)
    parts = (*size, f"gripper-{settings.gripper:g}", settings.steps, f"seed-{settings.seed}")
    return "-".join(map(str, (task.name, *parts)))


def training_facts(task: RobotTask, settings: PolicyTraining, work: Path) -> dict[str, Any]:
    """Of a finished run, for the file beside the weights."""
    return {
        "task": task.name,
        "seed": settings.seed,
        "steps": settings.steps,
        "batch": settings.batch,
        **{
            key: round(value, 5) for key, value in read_records(work)[run_name(task, settings)].items() if key != "step"
        },
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
    }


def _untrained(shown: Demonstrations, settings: PolicyTraining) -> ChunkPolicy:
    from diffusers import DDPMScheduler

    torch.manual_seed(settings.seed)
    shape = ChunkShape(shown.chunks.shape[1], shown.chunks.shape[2], shown.observations.shape[1])
    # a denoised sample stays in range by itself; clipping would only make the steps nonlinear
    scheduler = DDPMScheduler(
        num_train_timesteps=shape.train_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=settings.prediction,
        clip_sample=settings.prediction == "epsilon",
    )
    size = settings.size
    config = {"network": size.network, "settings": dict(size.settings), "gripper": settings.gripper}
    policy = ChunkPolicy.build(shape, config, scheduler)
    policy.measure_ranges(shown, gripper=settings.gripper)
    return policy


def _loss(policy: ChunkPolicy, step: int, *, shown: Demonstrations, batch: int) -> Tensor:
    """Mean square error of the prediction at random timesteps (Ho et al. 2020, equation 14)."""
    rows = torch.randint(len(shown.chunks), (batch,))
    clean = policy.encode_actions(shown.chunks[rows])
    t = torch.randint(policy.shape.train_steps, (batch,))
    noise = torch.randn_like(clean)
    noisy = policy.scheduler.add_noise(clean, noise, t)
    predicted = policy(noisy, t, shown.observations[rows])
    wanted = clean if policy.scheduler.config.prediction_type == "sample" else noise
    return nn.functional.mse_loss(predicted, wanted)
