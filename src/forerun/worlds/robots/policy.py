"""A trained policy: a denoiser of chunks, the ranges of what it sees and does, and the scheduler of its training."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.networks import ChunkPerceptron, ChunkShape, ChunkUNet
from forerun.worlds.weights import fill_network, half_weights, write_facts

SMALLEST_DEVIATION = 1e-2  # a smaller one counts as none: a number that hardly changes is not blown up
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
POLICY_FILES = (WEIGHTS_FILE, CONFIG_FILE, "scheduler_config.json")
RANGE_NAMES = ("mean", "deviation", "low", "high")


@final
class ChunkPolicy(nn.Module):
    """A network between the units of an environment and those of diffusion.

    Calls take noisy chunks in [-1, 1] `(B, horizon, action)`, timesteps `(B,)` and observations as the environment
    gives them `(B, observed)`; they return what the scheduler's `prediction_type` names. `decode_chunks` turns a
    denoised chunk into actions.

    Args:
        network: of `networks`.
        shape: what it was made for.
        config: `{"network": "perceptron" or "unet", "settings": of its class, "gripper": see `measure_ranges`}`, from
            which `load` makes it again.
        scheduler: of diffusers; adds the noise of the training.
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: ChunkShape,
        config: dict[str, Any],
        scheduler: Any,
    ) -> None:
        super().__init__()
        self.network = network
        self.shape = shape
        self.config = config
        self.scheduler = scheduler
        self.register_buffer("mean", torch.zeros(shape.observed))
        self.register_buffer("deviation", torch.ones(shape.observed))
        self.register_buffer("low", -torch.ones(shape.action))
        self.register_buffer("high", torch.ones(shape.action))

    def forward(
        self,
        actions: Tensor,
        t: Tensor,
        observation: Tensor,
    ) -> Tensor:
        predicted: Tensor = self.network(actions, t, (observation - self.mean) / self.deviation)
        return predicted

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Return actions of the environment, `(..., action)`, in the units of diffusion, [-1, 1]."""
        return 2 * (actions - self.low) / (self.high - self.low) - 1

    def decode_chunks(self, chunks: Tensor, *, signs: bool = False) -> Tensor:
        """Return denoised chunks as actions of the environment.

        Args:
            chunks: `(..., action)`.
            signs: the gripper is -1 or 1, whatever it was divided by in the training; as `RTI` answers.
        """
        if signs:
            gripper = chunks[..., -1:] / self.config["gripper"]
            chunks = torch.cat([chunks[..., :-1], gripper], -1)
        return self.low + (chunks + 1) / 2 * (self.high - self.low)

    def measure_ranges(
        self,
        demonstrations: Demonstrations,
        *,
        gripper: float = 1.0,
    ) -> None:
        """Take the ranges from demonstrations.

        Args:
            demonstrations: what is learnt.
            gripper: divides the gripper, the last number of an action, after it was put in [-1, 1]. Real-time
                iteration (RTI-DP, arXiv 2508.05396) asks for 10 where the gripper is open or closed: a guess from the
                last chunk is then never far from either.
        """
        observations = demonstrations.observations
        deviation = observations.std(0)
        self.mean.copy_(observations.mean(0))
        self.deviation.copy_(torch.where(deviation > SMALLEST_DEVIATION, deviation, torch.ones_like(deviation)))
        actions = demonstrations.chunks.flatten(0, 1)
        low = actions.amin(0)
        high = actions.amax(0)
        wider = torch.ones_like(low)
        wider[-1] = gripper
        self.low.copy_((low + high) / 2 - wider * (high - low) / 2)
        self.high.copy_((low + high) / 2 + wider * (high - low) / 2)

    @staticmethod
    def build(shape: ChunkShape, config: dict[str, Any], scheduler: Any) -> ChunkPolicy:
        """Return an untrained policy."""
        network: nn.Module
        if config["network"] == "unet":
            network = ChunkUNet(shape, **config["settings"])
        else:
            network = ChunkPerceptron(shape, **config["settings"])
        return ChunkPolicy(network, shape, config, scheduler)

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write weights (float16), configuration with `facts` of the training, and the scheduler's own file."""
        folder.mkdir(parents=True, exist_ok=True)
        ranges = {name: getattr(self, name).clone() for name in RANGE_NAMES}
        save_file({**half_weights(self), **ranges}, folder / WEIGHTS_FILE)
        config = {"shape": asdict(self.shape), **self.config, "training": facts}
        write_facts(folder / CONFIG_FILE, config)
        self.scheduler.save_pretrained(folder)

    @staticmethod
    def load(folder: Path) -> ChunkPolicy:
        """Return the policy of a folder, in float32, ready to evaluate.

        Raises:
            FileNotFoundError: a file is missing; the message says which, and what makes them.
        """
        for name in POLICY_FILES:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} is missing; type: forerun train-policy pick-place --out {folder}"
                )
        from diffusers import DDPMScheduler

        stored = json.loads((folder / CONFIG_FILE).read_text())
        shape = ChunkShape(**stored["shape"])
        config = {name: stored[name] for name in ("network", "settings", "gripper")}
        policy = ChunkPolicy.build(shape, config, DDPMScheduler.from_pretrained(folder))
        return fill_network(policy, folder / WEIGHTS_FILE)


def shipped_policy(name: str) -> Path:
    """Return the folder of a policy that comes with forerun."""
    return Path(str(resources.files("forerun.worlds.robots") / "weights" / name))
