"""Density: which steps of a window are evaluated in a round, from the rounds so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from forerun.engine.rounds import Round
from forerun.engine.skeleton import Skeleton

ROUGHNESS_ROUNDS: Final = 12  # rounds back to look for interpolated outputs that were held against evaluated ones
ADVANCE_ROUNDS: Final = 3  # the last, over which the steps that a round accepts are averaged
OPENING_SHARE: Final = 0.1  # of the path, that the dense part of an opening is long at least
SMALLEST_THRESHOLD: Final = 1e-300


@dataclass(frozen=True)
class Density:
    """All steps behind the front, and every so many beyond; all of them where outputs are not smooth.

    The dense part reaches as far as the last round has settled: over the steps that moved by no more than a small
    multiple of the threshold, or over a multiple of what that round accepted, where this is more. Beyond it lie zones,
    each twice as long as the one before and with a stride of its own. Evaluated steps are multiples of the stride, so
    that a step that was evaluated once is evaluated in every round until it is accepted, if each stride divides
    the next.

    How good interpolation is shows for nothing, where a step becomes dense: the move that follows is what its
    interpolated output was off. Where that is more than `roughest` thresholds (tokens, noisy gradients, samplers with
    much noise a step) every step is evaluated for some rounds. Until it has shown, strides are half as long.

    Args:
        strides: of the zones, the last of them without an end; `(1,)` evaluates every step.
        zone: steps of the first zone.
        min_dense: steps of the dense part, at least.
        settled: thresholds that a step has moved by, at most, to be in the dense part.
        growth: times the steps accepted in the last round that the dense part is long, at least.
        opening: steps of the dense part, at least, until an interpolated output was held against an evaluated one;
            then also a tenth of the path.
        roughest: thresholds that an interpolated output may be off; infinite to interpolate whatever comes.
        spare_width: times the steps that a round accepts, by which a window is wide, at least, to be thinned out.
    """

    strides: tuple[int, ...] = (4, 8, 16)
    zone: int = 32
    min_dense: int = 24
    settled: float = 8.0
    growth: float = 1.5
    opening: int = 32
    roughest: float = 1.0
    spare_width: float = 2.0

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise ValueError(
                f"Density(strides={self.strides}) evaluates no step; pass strides of 1 or more, such as (4, 8, 16)"
            )
        if self.zone < 1:
            raise ValueError(f"Density(zone={self.zone}) has no step in its first zone; pass 1 or more")

    def choose_steps(
        self,
        log: Sequence[Round],
        start: int,
        stop: int,
        length: int,
    ) -> Skeleton | None:
        """Return the steps to evaluate of the window `[start, stop)`; None for all of them.

        Args:
            log: the rounds so far.
            start: the first step of the window.
            stop: the step after its last.
            length: steps of the path, whose last is evaluated too where the window holds it.
        """
        if self._needs_all(log, stop - start):
            return None
        strides, min_dense = self.strides, self.min_dense
        if self.opening and not _was_sparse(log):
            strides = tuple(max(stride // 2, 1) for stride in strides)
            min_dense = max(min_dense, self.opening, int(OPENING_SHARE * length))
        dense_stop = max(start + min_dense, self._find_settled_stop(log, start))
        far_steps = _list_far_steps(strides, dense_stop, min(stop, length - 1), self.zone)
        if dense_stop < stop == length:
            far_steps.append(length - 1)
        if dense_stop + len(far_steps) >= stop:
            return None
        return Skeleton(start, stop, dense_stop, tuple(far_steps))

    def _needs_all(self, log: Sequence[Round], width: int) -> bool:
        """Whether all steps of a window of this width are evaluated, whatever has settled."""
        if self.strides == (1,):
            return True
        advances = [entry.accepted for entry in log[-ADVANCE_ROUNDS:]]
        if advances and width * len(advances) < self.spare_width * sum(advances):
            return True
        pairs = pairwise(log[-ROUGHNESS_ROUNDS:])
        return any(not _measure_roughness(before, entry) <= self.roughest for before, entry in pairs)

    def _find_settled_stop(self, log: Sequence[Round], start: int) -> int:
        """Return the step after the last that has settled; it never lies before the dense part of the last round."""
        if not log or log[-1].start + log[-1].accepted != start:
            return start
        last = log[-1]
        settled = _count_leading(last.residuals[last.accepted :], self.settled * last.threshold)
        accepted_reach = int(self.growth * last.accepted)
        return max(start + settled, start + accepted_reach, last.skeleton.dense_stop)


EVERY_STEP: Final = Density(strides=(1,))


def _was_sparse(log: Sequence[Round]) -> bool:
    """Whether a round before the last was sparse, so that the last has shown what interpolation is worth."""
    return any(entry.sparse for entry in log[-ROUGHNESS_ROUNDS:-1])


def _measure_roughness(before: Round, entry: Round) -> float:
    """Return by how many thresholds the first step that became dense in a round was off when it was interpolated.

    Its successor moved by that, beyond what the step itself did.
    """
    if before.sparse is None or not entry.continues(before):
        return 0.0
    slot = before.sparse.dense_stop - entry.start
    if not 0 <= slot < min(entry.skeleton.dense_count, entry.width - 1):
        return 0.0
    jump = entry.residuals[slot + 1] - entry.residuals[slot]
    if not jump < inf:
        return inf
    return jump / max(entry.threshold, SMALLEST_THRESHOLD)


def _count_leading(sizes: Sequence[float], bound: float) -> int:
    """Return how many leading sizes keep a bound."""
    for index, size in enumerate(sizes):
        if not size <= bound:
            return index
    return len(sizes)


class _Zone(NamedTuple):
    """Steps with a stride of their own."""

    stride: int
    start: int
    stop: int

    def list_steps(self) -> list[int]:
        """Return the multiples of the stride."""
        first = -(-self.start // self.stride) * self.stride
        return list(range(first, self.stop, self.stride))


def _list_far_steps(
    strides: Sequence[int],
    dense_stop: int,
    stop: int,
    size: int,
) -> list[int]:
    """Return the evaluated steps from `dense_stop` on; the first zone is of this size."""
    steps: list[int] = []
    start = dense_stop
    for stride in strides[:-1]:
        steps += _Zone(stride, start, min(start + size, stop)).list_steps()
        start, size = start + size, 2 * size
    return steps + _Zone(strides[-1], start, stop).list_steps()
