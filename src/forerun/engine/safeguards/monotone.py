"""Monotone: an accelerated point must not make the merit worse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.safeguards.base import JudgedPoints, Safeguard

MERIT_ROUNDINGS = 16.0  # by which a merit may rise


@dataclass(frozen=True)
class Monotone(Safeguard):
    """An accelerated point is taken back where its `Map.merit` is higher than that of the point before.

    For maps that lower an objective by themselves: EM, alternating minimisation, template estimation. There small
    residuals mislead, above all where the map is piecewise constant.
    """

    def measure(self, judged: JudgedPoints) -> Tensor:
        return judged.rows.measure_merit(judged.points, judged.problems)

    def accepts(self, measured: Tensor, last: Tensor, best: Tensor) -> Tensor:
        slack = MERIT_ROUNDINGS * torch.finfo(last.dtype).eps * last.abs()
        return measured <= last + slack
