"""LoopParts: what the user built a loop of, as it was passed."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.numerics.tree import Tree
from forerun.optim.barriers import Barriers
from forerun.optim.gradients import Gradients
from forerun.optim.loss_task import DataFunction
from forerun.optim.optimizer_stepper import ClipFunction
from forerun.optim.parameters import LossFunction
from forerun.optim.training import AverageFunction


@dataclass(frozen=True)
class LoopParts:
    """What the user built a loop of; `Loop` says what each is."""

    params: Tree
    optimizers: list[Optimizer]
    loss: LossFunction
    data: DataFunction | None
    schedulers: list[LRScheduler]
    clip: ClipFunction
    average: AverageFunction | None
    seed: int | None
    barriers: Barriers
    gradients: Gradients
    memory: int | None
