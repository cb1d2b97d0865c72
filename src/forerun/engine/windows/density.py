"""Density: which steps of a window are evaluated in a round, from the rounds so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.engine.rounds import Round
from forerun.engine.skeleton import Skeleton


@dataclass(frozen=True)
class Density:
    """All steps behind the front, and every so many beyond.

    The dense part reaches as far as the last round has settled: over the steps that moved by no more than a small
    multiple of the threshold, or over a multiple of what that round accepted, where this is more. Beyond it lie zones,
    each twice as long as the one before and with a stride of its own. Evaluated steps are multiples of the stride, so
    that a step that was evaluated once is evaluated in every round until it is accepted, if each stride divides
    the next.

    Args:
        strides: of the zones, the last of them without an end; `(1,)` evaluates every step.
        zone: steps of the first zone.
        min_dense: steps of the dense part, at least.
        settled: thresholds that a step has moved by, at most, to be in the dense part.
        growth: times the steps accepted in the last round that the dense part is long, at least.
    """

    strides: tuple[int, ...] = (1,)
    zone: int = 32
    min_dense: int = 8
    settled: float = 4.0
    growth: float = 2.0

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise ValueError(
                f"Density(strides={self.strides}) evaluates no step; pass strides of 1 or more, such as (3, 6)"
            )
        if self.zone < 1:
            raise ValueError(f"Density(zone={self.zone}) has no step in its first zone; pass 1 or more")

    def choose_steps(self, log: Sequence[Round], start: int, stop: int, length: int) -> Skeleton | None:
        """Return the steps to evaluate of the window `[start, stop)`; None for all of them.

        Args:
            log: the rounds so far.
            start: the first step of the window.
            stop: the step after its last.
            length: steps of the path, whose last is evaluated too where the window holds it.
        """
        if self.strides == (1,):
            return None
        dense_stop = self._find_dense_stop(log, start)
        far_steps = self._list_far_steps(dense_stop, min(stop, length - 1))
        if dense_stop < stop == length:
            far_steps.append(length - 1)
        if dense_stop + len(far_steps) >= stop:
            return None
        return Skeleton(start, stop, dense_stop, tuple(far_steps))

    def _find_dense_stop(self, log: Sequence[Round], start: int) -> int:
        """Return the step after the last of the dense part; it never lies before that of the last round."""
        dense_stop = start + self.min_dense
        if not log or log[-1].start + log[-1].accepted != start:
            return dense_stop
        last = log[-1]
        growth = int(self.growth * last.accepted)
        return max(dense_stop, start + growth, last.skeleton.dense_stop, start + self._count_settled(last))

    def _count_settled(self, last: Round) -> int:
        """Return how many steps after the accepted ones moved by little in the last round."""
        bound = self.settled * last.threshold
        count = 0
        for size in last.residuals[last.accepted :]:
            if not size <= bound:
                break
            count += 1
        return count

    def _list_far_steps(self, dense_stop: int, stop: int) -> list[int]:
        """Return the evaluated steps of the zones, up to `stop`."""
        steps: list[int] = []
        zone_start, size = dense_stop, self.zone
        for stride in self.strides[:-1]:
            zone_stop = min(zone_start + size, stop)
            steps += _list_multiples(stride, zone_start, zone_stop)
            zone_start, size = zone_start + size, 2 * size
        return steps + _list_multiples(self.strides[-1], zone_start, stop)


def _list_multiples(stride: int, start: int, stop: int) -> list[int]:
    """Return the multiples of a stride among the steps `start .. stop-1`."""
    first = -(-start // stride) * stride
    return list(range(first, stop, stride))
