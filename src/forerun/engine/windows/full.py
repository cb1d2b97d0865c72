"""Full: all steps in flight together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window


@dataclass(frozen=True)
class Full(Window):
    """All steps that are left."""

    def width(self, log: Sequence[Round], length: int) -> int:
        return length
