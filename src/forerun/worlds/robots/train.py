"""Training a policy on demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from forerun.worlds.weights import dated_versions


@dataclass(frozen=True)
class PolicySize:
    """A network and how long it is trained.

    Args:
        network: "perceptron" or "unet".
        settings: of its class.
        steps: of the training by default.
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
    """The recipe of one training run.

    Args:
        size: the network.
        steps: of the optimiser.
        seed: of weights, batches and noise.
        prediction: what the network predicts: "epsilon" or "sample".
        gripper: see `ChunkPolicy.measure_ranges`.
        batch: chunks a step.
        rate: the largest learning rate.
        horizon: number of steps that the average of the weights looks back.
    """

    size: PolicySize
    steps: int
    seed: int = 0
    prediction: str = "sample"
    gripper: float = 1.0
    batch: int = 128
    rate: float = 1e-3
    horizon: int = 1000


def fit_policy(
    task: RobotTask,
    demonstrations: Demonstrations,
    training: PolicyTraining,
    work: Path,
) -> ChunkPolicy:
    """Return the averaged policy after all steps.

    Args:
        task: names the file of the unfinished run.
        demonstrations: what is learnt.
        training: the recipe.
        work: folder of the unfinished run, from which the same call goes on.
    """

    def batch_loss(policy: ChunkPolicy, step: int) -> Tensor:
        return chunk_loss(policy, demonstrations, training.batch)

    policy = _untrained_policy(demonstrations, training)
    interval = max(1, training.steps // 20)
    stage = TrainingStage(
        name=run_name(task, training),
        steps=training.steps,
        rate=training.rate,
        horizon=training.horizon,
        save_every=interval,
        report_every=interval,
    )
    return train_network(
        policy,
        batch_loss,
        stage,
        work,
        seed=training.seed,
    ).network


def run_name(task: RobotTask, training: PolicyTraining) -> str:
    """Return the name of a run: the task and all that makes the run what it is."""
    size = training.size
    parts = (
        task.name,
        size.network,
        size.settings["width"],
        training.prediction,
        f"gripper-{training.gripper:g}",
        training.steps,
        f"seed-{training.seed}",
    )
    return "-".join(map(str, parts))


def training_facts(
    task: RobotTask,
    training: PolicyTraining,
    work: Path,
) -> dict[str, Any]:
    """Return the facts of a finished run, for the file beside the weights."""
    record = read_records(work)[run_name(task, training)]
    return {
        "task": task.name,
        "seed": training.seed,
        "steps": training.steps,
        "batch": training.batch,
        "loss": round(record["loss"], 5),
        "seconds": round(record["seconds"], 5),
        **dated_versions(),
    }


def chunk_loss(
    policy: ChunkPolicy,
    demonstrations: Demonstrations,
    batch: int,
) -> Tensor:
    """Return the mean square error of the prediction at random timesteps (Ho et al. 2020, equation 14)."""
    rows = torch.randint(len(demonstrations.chunks), (batch,))
    clean = policy.encode_actions(demonstrations.chunks[rows])
    t = torch.randint(policy.shape.train_steps, (batch,))
    noise = torch.randn_like(clean)
    noisy = policy.scheduler.add_noise(clean, noise, t)
    predicted = policy(noisy, t, demonstrations.observations[rows])
    target = noise
    if policy.scheduler.config.prediction_type == "sample":
        target = clean
    return nn.functional.mse_loss(predicted, target)


def _untrained_policy(
    demonstrations: Demonstrations,
    training: PolicyTraining,
) -> ChunkPolicy:
    from diffusers import DDPMScheduler

    torch.manual_seed(training.seed)
    _, horizon, action = demonstrations.chunks.shape
    shape = ChunkShape(horizon, action, demonstrations.observations.shape[1])
    # a denoised sample stays in range without clipping, which would only make the steps nonlinear
    scheduler = DDPMScheduler(
        num_train_timesteps=shape.train_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=training.prediction,
        clip_sample=training.prediction == "epsilon",
    )
    config = {
        "network": training.size.network,
        "settings": dict(training.size.settings),
        "gripper": training.gripper,
    }
    policy = ChunkPolicy.build(shape, config, scheduler)
    policy.measure_ranges(demonstrations, gripper=training.gripper)
    return policy
