"""StepLength: moves and deviations in units of the length of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.tolerance import Tolerance, rms


@dataclass(frozen=True)
class StepLength(Tolerance):
    """The parameters of a step may move by `value` times the mean length of the steps so far.

    A length is the Euclidean norm over all parameters, and the mean is over all steps from the first on: learning rates
    that fall to zero at the end do not make the unit vanish with them. For `forerun.optim.Training` alone, whose inputs
    end with the mean length.
    """

    value: float = 0.03

    def __post_init__(self) -> None:
        if not self.value >= 0:
            raise ValueError(f"StepLength({self.value}) cannot be kept; pass a number >= 0, such as 0.03")

    def norm(self, steps: Tensor, moves: Tensor, inputs: Tensor) -> Tensor:
        unit = inputs[..., -1]
        return rms(moves[..., :-1]) / unit.clamp_min(torch.finfo(unit.dtype).tiny)

    def threshold(self) -> float:
        return self.value
