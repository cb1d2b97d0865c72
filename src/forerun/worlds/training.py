"""One training loop for every network of the worlds: AdamW, a schedule of the rate, averaged weights, resumable."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

StepLoss = Callable[[Any, int], Tensor]  # (network, step) -> the loss of the step
RateSchedule = Callable[[int, int], float]  # (step, steps) -> the share of the largest learning rate
Network = TypeVar("Network", bound=nn.Module)
WARMUP_STEPS = 100
LAST_RATE_SHARE = 0.02  # of the largest learning rate, at the end of `warm_cosine`


def warm_cosine(step: int, steps: int) -> float:
    """Return the share of the rate at a step: a linear warm-up, then half a cosine down to a fiftieth."""
    warm_up = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm_up * (LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * plain_cosine(step, steps))


def plain_cosine(step: int, steps: int) -> float:
    """Return the share of the rate at a step: half a cosine from one down to nothing."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """One run of the training loop.

    Attributes:
        name: of the run; its state is kept in `NAME.pt`.
        steps: number of steps of the optimiser.
        rate: the largest learning rate.
        schedule: the share of the rate that a step has.
        betas: decay rates of AdamW's moments.
        weight_decay: of AdamW.
        max_norm: bound on the norm of the gradient; None to leave it as it is.
        horizon: number of steps that the average of the weights looks back; None to train without an average.
        loss_name: what the loss is called in reports.
        loss_horizon: number of steps that the reported mean of the loss looks back.
        save_every: steps between two writings of the state.
        report_every: steps between two printed lines.
    """

    name: str
    steps: int
    rate: float = 1e-3
    schedule: RateSchedule = warm_cosine
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-2
    max_norm: float | None = 1.0
    horizon: int | None = 300
    loss_name: str = "loss"
    loss_horizon: int = 100
    save_every: int = 200
    report_every: int = 50


@dataclass(frozen=True)
class TrainingRecord:
    """How far a run has come: steps taken, recent mean of the loss, seconds of all its sessions together."""

    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingResult(Generic[Network]):
    """A trained network, ready to evaluate, and the record of its run."""

    network: Network
    record: TrainingRecord


def train_network(
    network: Network,
    loss: StepLoss,
    stage: TrainingStage,
    work: Path | None,
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> TrainingResult[Network]:
    """Train a network in place and return its average over the last steps.

    An interrupted run that is called again ends where an uninterrupted one does.

    Args:
        network: what is trained.
        loss: of the network and a step.
        stage: the recipe.
        work: folder with the states of runs; where it has one of this stage, the run goes on from it. None keeps none.
        seed: before every step torch is seeded from it and the step.
        generator: what the loss draws from, where it has a generator of its own. Its state is kept with the run, and
            torch is not seeded.
    """
    run = _TrainingRun(network, stage, generator)
    file = None if work is None else work / f"{stage.name}.pt"
    record = run.resume(file)
    started = time.perf_counter() - record.seconds
    for step in range(record.step, stage.steps):
        if generator is None:
            torch.manual_seed(seed * 1_000_000 + step)
        value = run.take_step(loss, step)
        recent = record.loss + (value - record.loss) / min(stage.loss_horizon, step + 1)
        record = TrainingRecord(step + 1, recent, time.perf_counter() - started)
        _report_progress(stage, record)
        if file is not None and (record.step % stage.save_every == 0 or record.step == stage.steps):
            run.save(file, record)
    return TrainingResult(run.average.eval(), record)


def read_records(work: Path) -> dict[str, dict[str, float]]:
    """Return the `TrainingRecord` of every stage that has its state in a folder, as dictionaries by name."""
    records = {}
    for file in sorted(work.glob("*.pt")):
        state = torch.load(file, weights_only=True, mmap=True)
        if isinstance(state, dict):
            records[file.stem] = state["record"]
    return records


class _Stateful(Protocol):
    """Something whose state is kept with a run."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state over."""


class _TrainingRun(Generic[Network]):
    """What moves in a run: the network, its average, the optimiser, and the generator where there is one."""

    def __init__(
        self,
        network: Network,
        stage: TrainingStage,
        generator: torch.Generator | None,
    ) -> None:
        self.network = network
        self.stage = stage
        self.average = network
        if stage.horizon is not None:
            self.average = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=stage.rate,
            betas=stage.betas,
            weight_decay=stage.weight_decay,
        )
        self._stateful: dict[str, _Stateful] = {"network": network, "optimizer": self.optimizer}
        if stage.horizon is not None:
            self._stateful["average"] = self.average
        if generator is not None:
            self._stateful["generator"] = _GeneratorState(generator)

    def take_step(self, loss: StepLoss, step: int) -> float:
        """Take one step of the optimiser and of the average; return the loss."""
        stage = self.stage
        for group in self.optimizer.param_groups:
            group["lr"] = stage.rate * stage.schedule(step, stage.steps)
        value = loss(self.network, step)
        self.optimizer.zero_grad()
        value.backward()
        if stage.max_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), stage.max_norm)
        self.optimizer.step()
        if stage.horizon is not None:
            # the average forgets its beginning sooner while it is short
            self._blend_average(max(1 / stage.horizon, 9 / (10 + step)))
        return value.item()

    def save(self, file: Path, record: TrainingRecord) -> None:
        """Write the state; a killed run leaves the old file or the new one, never half of it."""
        states = {name: stateful.state_dict() for name, stateful in self._stateful.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".tmp")
        torch.save({"record": asdict(record), **states}, unfinished)
        os.replace(unfinished, file)

    def resume(self, file: Path | None) -> TrainingRecord:
        """Take over the state of a file, where there is one, and return its record."""
        if file is None or not file.exists():
            return TrainingRecord()
        state = torch.load(file, weights_only=True)
        for name, stateful in self._stateful.items():
            stateful.load_state_dict(state[name])
        return TrainingRecord(**state["record"])

    @torch.no_grad()
    def _blend_average(self, share: float) -> None:
        for mean, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(current, share)


class _GeneratorState:
    """A generator whose state is kept in the same way as that of a network."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def state_dict(self) -> dict[str, Any]:
        return {"state": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self._generator.set_state(state_dict["state"])


def _report_progress(stage: TrainingStage, record: TrainingRecord) -> None:
    if record.step % stage.report_every == 0:
        progress = f"{stage.name} {record.step}/{stage.steps}"
        print(f"{progress}  {stage.loss_name} {record.loss:.4f}  {record.seconds:.0f} s", flush=True)
