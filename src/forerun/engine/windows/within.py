"""Within: another window, cut to a largest width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forerun.engine.rounds import Round
from forerun.engine.windows.base import Window
from forerun.engine.windows.density import Density
from forerun.engine.windows.past_run import PastRun


@dataclass(frozen=True)
class Within(Window):
    """Another window, cut to `max_width` steps, as memory may ask."""

    window: Window
    max_width: int

    def __post_init__(self) -> None:
        if self.max_width < 1:
            raise ValueError(f"Within(..., {self.max_width}) holds no step; pass 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        return min(self.window.width(log, length), self.max_width)

    def choose_density(self, log: Sequence[Round], length: int) -> Density:
        return self.window.choose_density(log, length)

    def lead_steps(self, length: int) -> int:
        return self.window.lead_steps(length)

    def recall(self, past: PastRun) -> Window:
        return replace(self, window=self.window.recall(past))

    def summarise(self, log: Sequence[Round], length: int, *, reason: str | None) -> PastRun | None:
        return self.window.summarise(log, length, reason=reason)

    def note(self, log: Sequence[Round], length: int) -> str | None:
        return self.window.note(log, length)

    def declines(self, length: int) -> str | None:
        return self.window.declines(length)
