"""One training loop for every network of the scenes: AdamW, warm-up and cosine, averaged weights, resumable."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Loss = Callable[[Any, int], Tensor]  # of the network and the step
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class TrainingStage:
    """Of one run of the loop; `horizon` is the number of steps that the average of the weights looks back."""

    name: str
    steps: int
    rate: float = 1e-3
    horizon: int = 300
    save_every: int = 200
    say_every: int = 50


@dataclass(frozen=True)
class TrainingRecord:
    """How far a run has come: steps done, mean loss of about the last hundred, seconds of all its parts."""

    step: int
    loss: float
    seconds: float


def train_network(network: Network, loss: Loss, stage: TrainingStage, work: Path, *, seed: int = 0) -> Network:
    """Train `network` in place and return its average over the last steps.

    `work/NAME.pt` holds the state; where it exists the run goes on from it. Every step seeds torch anew, so that an
    interrupted run ends where an uninterrupted one does.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=stage.rate, betas=(0.9, 0.98), weight_decay=1e-2)
    average = copy.deepcopy(network).requires_grad_(False)
    file = work / f"{stage.name}.pt"
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer}
    done = _resume(file, parts) if file.exists() else TrainingRecord(0, 0.0, 0.0)
    begun, recent = time.perf_counter() - done.seconds, done.loss
    for step in range(done.step, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * _schedule(step, stage.steps)
        torch.manual_seed(seed * 1_000_000 + step)
        value = loss(network, step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        # the average forgets its beginning sooner while it is short
        _blend(average, network, max(1 / stage.horizon, 9 / (10 + step)))
        recent += (value.item() - recent) / min(100, step + 1)
        record = TrainingRecord(step + 1, recent, time.perf_counter() - begun)
        if record.step % stage.say_every == 0:
            print(f"{stage.name} {record.step}/{stage.steps}  loss {recent:.4f}  {record.seconds:.0f} s", flush=True)
        if record.step % stage.save_every == 0 or record.step == stage.steps:
            _save(file, parts, record)
    return average.eval()


def read_records(work: Path) -> dict[str, dict[str, float]]:
    """The `TrainingRecord` of every stage that has its state in `work`, as a dictionary."""
    states = {file.stem: torch.load(file, weights_only=True, mmap=True) for file in sorted(work.glob("*.pt"))}
    return {name: state["record"] for name, state in states.items() if isinstance(state, dict)}


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _blend(average: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for mean, current in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(current, share)


def _save(file: Path, parts: Mapping[str, Any], record: TrainingRecord) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    # a killed run leaves the old file or the new one, never half of it
    torch.save({"record": asdict(record), **states}, file.with_suffix(".tmp"))
    os.replace(file.with_suffix(".tmp"), file)


def _resume(file: Path, parts: Mapping[str, Any]) -> TrainingRecord:
    state = torch.load(file, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return TrainingRecord(**state["record"])
