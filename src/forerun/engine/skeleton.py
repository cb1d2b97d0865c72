"""Skeleton: which steps of a window are evaluated in a round; the outputs of those between are interpolated."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """The evaluated steps of the window `[start, stop)`: all up to `dense_stop`, and some beyond.

    Attributes:
        start: the first step, which is always evaluated.
        stop: the step after the last of the window.
        dense_stop: the step after the last of those that are evaluated one and all.
        far_steps: the evaluated steps from `dense_stop` on, ascending.
    """

    start: int
    stop: int
    dense_stop: int
    far_steps: tuple[int, ...] = ()

    @classmethod
    def all_steps(cls, start: int, stop: int) -> Skeleton:
        """Return the skeleton that leaves no step out."""
        return cls(start, stop, stop)

    @property
    def is_dense(self) -> bool:
        """Whether no step is left out."""
        return self.dense_stop >= self.stop

    @property
    def dense_count(self) -> int:
        """Number of leading steps that are evaluated one and all."""
        return self.dense_stop - self.start

    def list_slots(self) -> list[int]:
        """Return the places in the window of the evaluated steps, ascending."""
        return [*range(self.dense_count), *(step - self.start for step in self.far_steps)]

    def select_steps(self, start: int, stop: int) -> Skeleton:
        """Return what is evaluated of the steps `start .. stop-1`; an empty skeleton where it has none of them."""
        stop = max(min(stop, self.stop), start)
        dense_stop = max(min(self.dense_stop, stop), start)
        first = bisect_left(self.far_steps, start)
        far_steps = self.far_steps[first : bisect_left(self.far_steps, stop)]
        return Skeleton(start, stop, dense_stop, far_steps)

    def list_common_slots(self, other: Skeleton) -> list[int]:
        """Return the places in this window of the steps that are evaluated in another one too, ascending."""
        others: Set[int] = frozenset(other.far_steps)
        slots = []
        for slot in self.list_slots():
            step = slot + self.start
            if other.start <= step < other.dense_stop or step in others:
                slots.append(slot)
        return slots
