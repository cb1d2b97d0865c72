"""Unguarded: every finite point is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.safeguards.base import JudgedPoints, Safeguard


@dataclass(frozen=True)
class Unguarded(Safeguard):
    """Every accelerated point is kept that is finite."""

    def measure(self, judged: JudgedPoints) -> Tensor:
        return judged.sizes

    def accepts(self, measured: Tensor, last: Tensor, best: Tensor) -> Tensor:
        return torch.ones_like(measured, dtype=torch.bool)
