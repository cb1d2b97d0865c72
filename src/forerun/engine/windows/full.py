"""Full: all steps in flight together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window
from forerun.engine.windows.density import Density


@dataclass(frozen=True)
class Full(Window):
    """All steps that are left.

    Args:
        density: which of them are evaluated in a round; `EVERY_STEP` for all of them, whatever it costs.
    """

    density: Density = Density()

    def width(self, log: Sequence[Round], length: int) -> int:
        return length

    def choose_density(self, log: Sequence[Round], length: int) -> Density:
        return self.density
