"""A trained policy: a denoiser of chunks, the ranges of what it sees and does, and the scheduler of its training."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.networks import ChunkPerceptron, ChunkShape, ChunkUNet

SMALLEST = 1e-2  # a standard deviation below it counts as none: a number that hardly changes is not blown up
PARTS = ("model.safetensors", "config.json", "scheduler_config.json")


@final
class ChunkPolicy(nn.Module):
    """A network between the units of an environment and those of diffusion.

    Calls take noisy chunks in [-1, 1] `(B, horizon, action)`, timesteps `(B,)` and observations as the environment
    gives them `(B, observed)`; they return what the scheduler's `prediction_type` names. `decode` turns a denoised
    chunk into actions.

    Args:
        network: of `networks`.
        shape: what it was made for.
        config: `{"network": "perceptron" or "unet", "settings": of its class, "gripper": see `measure`}`, from which
            `load` makes it again.
        scheduler: of diffusers; adds the noise of the training.
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, network: nn.Module, shape: ChunkShape, config: dict[str, Any], scheduler: Any) -> None:
        super().__init__()
        self.network, self.shape, self.config, self.scheduler = network, shape, config, scheduler
        self.register_buffer("mean", torch.zeros(shape.observed))
        self.register_buffer("deviation", torch.ones(shape.observed))
        self.register_buffer("low", -torch.ones(shape.action))
        self.register_buffer("high", torch.ones(shape.action))

    def forward(self, actions: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        predicted: Tensor = self.network(actions, t, (observation - self.mean) / self.deviation)
        return predicted

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Actions of the environment, `(..., action)`, to [-1, 1]."""
        return 2 * (actions - self.low) / (self.high - self.low) - 1

    def decode_chunks(self, chunks: Tensor, *, signs: bool = False) -> Tensor:
        """Denoised chunks to actions of the environment.

        Args:
            chunks: `(..., action)`.
            signs: the gripper is -1 or 1, whatever it was divided by in the training; as `RTI` answers.
        """
        if signs:
            chunks = torch.cat([chunks[..., :-1], chunks[..., -1:] / self.config["gripper"]], -1)
        return self.low + (chunks + 1) / 2 * (self.high - self.low)

    def measure_ranges(self, shown: Demonstrations, *, gripper: float = 1.0) -> None:
        """Take the ranges from demonstrations.

        Args:
            shown: the demonstrations.
            gripper: divides the gripper, the last number of an action, after it was put in [-1, 1]. Real-time
                iteration (RTI-DP, arXiv 2508.05396) asks for 10 where the gripper is open or closed: a guess from the
                last chunk is then never far from either.
        """
        observations, actions = shown.observations, shown.chunks.flatten(0, 1)
        deviation = observations.std(0)
        self.mean.copy_(observations.mean(0))
        self.deviation.copy_(torch.where(deviation > SMALLEST, deviation, torch.ones_like(deviation)))
        low, high = actions.amin(0), actions.amax(0)
        wider = torch.ones_like(low)
        wider[-1] = gripper
        self.low.copy_((low + high) / 2 - wider * (high - low) / 2)
        self.high.copy_((low + high) / 2 + wider * (high - low) / 2)

    @staticmethod
    def build(shape: ChunkShape, config: dict[str, Any], scheduler: Any) -> ChunkPolicy:
        """An untrained one."""
        kind = ChunkUNet if config["network"] == "unet" else ChunkPerceptron
        return ChunkPolicy(kind(shape, **config["settings"]), shape, config, scheduler)

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write weights (float16), configuration with `facts` of the training, and the scheduler's own file."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        kept = {name: getattr(self, name).clone() for name in ("mean", "deviation", "low", "high")}
        save_file({**weights, **kept}, folder / PARTS[0])
        about = {"shape": asdict(self.shape), **self.config, "training": facts}
        (folder / PARTS[1]).write_text(json.dumps(about, indent=2) + "\n")
        self.scheduler.save_pretrained(folder)

    @staticmethod
    def load(folder: Path) -> ChunkPolicy:
        """The policy of a folder, in float32, ready to evaluate.

        Raises:
            FileNotFoundError: a file is missing; the message says which, and what makes them.
        """
        for name in PARTS:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} is missing; type: forerun train-policy pick-place --out {folder}"
                )
        from diffusers import DDPMScheduler

        about = json.loads((folder / PARTS[1]).read_text())
        config = {name: about[name] for name in ("network", "settings", "gripper")}
        policy = ChunkPolicy.build(ChunkShape(**about["shape"]), config, DDPMScheduler.from_pretrained(folder))
        stored = load_file(folder / PARTS[0])
        policy.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
        return policy.eval().requires_grad_(False)


def shipped_policy(name: str) -> Path:
    """The folder of a policy that comes with forerun."""
    return Path(str(resources.files("forerun.worlds.robots") / "weights" / name))
