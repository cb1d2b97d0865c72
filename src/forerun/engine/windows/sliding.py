"""Sliding: a fixed number of steps in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window
from forerun.engine.windows.density import Density


@dataclass(frozen=True)
class Sliding(Window):
    """`size` steps.

    Args:
        size: number of steps.
        density: which of them are evaluated in a round; `EVERY_STEP` for all of them, whatever it costs.
    """

    size: int
    density: Density = Density()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Sliding({self.size}) holds no step; pass a size of 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        return self.size

    def choose_density(self, log: Sequence[Round], length: int) -> Density:
        return self.density
