"""Window: how many steps are in flight together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from forerun.engine.rounds import Round
from forerun.engine.windows.density import EVERY_STEP, Density
from forerun.engine.windows.past_run import PastRun


class Window(ABC):
    """The width of the next round and its density, from the rounds so far."""

    @abstractmethod
    def width(self, log: Sequence[Round], length: int) -> int:
        """Return the steps of the next window; the path's end may cut it short. 0 to decline: in order from here on."""

    def choose_density(self, log: Sequence[Round], length: int) -> Density:
        """Return which steps of the next window shall be evaluated; all of them, unless a window says otherwise.

        Methods that need every step do not ask.
        """
        return EVERY_STEP

    def lead_steps(self, length: int) -> int:
        """Return how many steps the plain loop takes before the window opens; 0 for none."""
        return 0

    def recall(self, past: PastRun) -> Window:
        """Return a window that begins with what the last run of the same kind has learnt."""
        return self

    def summarise(self, log: Sequence[Round], length: int, *, reason: str | None) -> PastRun | None:
        """Return what the next run of the same kind shall begin with; None where there is nothing to learn.

        Args:
            log: all rounds of the run, at least one.
            length: of its path.
            reason: why the window declined; None where it did not.
        """
        return None

    def note(self, log: Sequence[Round], length: int) -> str | None:
        """Return why it declined, asked when it does; None where there is nothing to say."""
        return None

    def declines(self, length: int) -> str | None:
        """Return why a path of this length is not worth setting anything up for; None where it may be."""
        return None
