"""Window: how many steps are in flight together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round


class Window(ABC):
    """The width of the next round, from the rounds so far."""

    @abstractmethod
    def width(self, log: Sequence[Round], length: int) -> int:
        """Steps of the next window, at least 1; the path's end may cut it short."""

    def note(self, log: Sequence[Round], length: int) -> str | None:
        """What the user should know about the choice; None where there is nothing to say."""
        return None


@dataclass(frozen=True)
class Full(Window):
    """All steps that are left."""

    def width(self, log: Sequence[Round], length: int) -> int:
        return length


@dataclass(frozen=True)
class Sliding(Window):
    """`size` steps."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Sliding({self.size}) holds no step; pass a size of 1 (sequential) or more")

    def width(self, log: Sequence[Round], length: int) -> int:
        return self.size


@dataclass(frozen=True)
class Auto(Window):
    """Placeholder until the measured window lands."""

    limit: int = 64

    def width(self, log: Sequence[Round], length: int) -> int:
        return self.limit
