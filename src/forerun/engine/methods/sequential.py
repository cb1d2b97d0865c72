"""Sequential: the ordinary loop, the truth that the others are tested against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from forerun.engine.methods.base import Evaluate, Front
from forerun.engine.methods.slopes import SlopeMethod


@dataclass(frozen=True)
class Sequential(SlopeMethod):
    """A window of one step."""

    def slopes(self, front: Front, evaluate: Evaluate) -> tuple[Tensor, None, None]:
        return evaluate(front.steps, front.inputs), None, None

    def stop(self, start: int, stop: int) -> int:
        return start + 1
