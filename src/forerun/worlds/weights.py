"""Weights that ship: written in float16 with the facts of their training in JSON, and read in float32."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def half_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights in float16, by name."""
    return {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}


def save_weights(network: nn.Module, file: Path) -> None:
    """Write a network's weights in float16; the folder is made where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(half_weights(network), file)


def fill_network(network: Network, file: Traversable) -> Network:
    """Fill a network with the weights of a file, in float32, and return it ready to evaluate."""
    weights = load(file.read_bytes())
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return network.eval().requires_grad_(False)


def command_line(module: str, arguments: Sequence[str]) -> str:
    """Return the line that runs a training module with some arguments."""
    return shlex.join(["python", "-m", module, *arguments])


def dated_versions() -> dict[str, str]:
    """Return today's date and the version of torch, as every file of facts has them."""
    return {"date": datetime.date.today().isoformat(), "torch": torch.__version__}


def write_facts(file: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a training beside its weights."""
    file.write_text(json.dumps(facts, indent=2) + "\n")
