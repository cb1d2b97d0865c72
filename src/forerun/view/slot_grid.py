"""The slots of a run as a grid: what every step was in every round, and how far it still had to move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.rounds import Round
from forerun.engine.solution import Solution

MAX_CELLS = 2048  # rows and columns that are drawn at most; above that, every second, third, ... is drawn
OUTSIDE, WAITING, ACCEPTED = 0, 1, 2  # what a slot is


@dataclass(frozen=True)
class SlotGrid:
    """The slots of a run, thinned to what a picture can show.

    Attributes:
        kind: uint8 `(rows, columns)`: outside the window, waiting or accepted.
        size: float32 `(rows, columns)`: the residual in units of the threshold; infinite where not finite.
        extent: left, right, bottom and top in steps and rounds.
    """

    kind: Tensor
    size: Tensor
    extent: tuple[float, float, float, float]

    @classmethod
    def from_solution(cls, solution: Solution) -> SlotGrid:
        """Return the slots of a solution's log."""
        rows = _rows_of_log(solution.log)
        rounds_before = solution.rounds - len(rows)  # in a resumed run
        row_stride = thinning_stride(len(rows), MAX_CELLS)
        column_stride = thinning_stride(solution.length, MAX_CELLS)
        thinned = rows[::row_stride]
        height = max(len(thinned), 1)
        width = max(_ceil_divide(solution.length, column_stride), 1)
        kind = torch.zeros(height, width, dtype=torch.uint8)
        size = torch.zeros(kind.shape)
        for index, entry in enumerate(thinned):
            _fill_row(kind[index], size[index], entry, column_stride)
        right = float(max(solution.length, 1))
        top = rounds_before + 0.5
        bottom = top + max(len(rows), 1)
        extent = (0.0, right, bottom, top)
        return cls(kind, size, extent)

    @property
    def waiting_sizes(self) -> Tensor:
        """The finite sizes of the slots that were not accepted, `(n,)`."""
        sizes = self.size[self.kind == WAITING]
        return sizes[torch.isfinite(sizes)]


def split_iterations(log: Sequence[Round]) -> list[Round]:
    """Return the log with each sequential stretch, which it holds as one entry, split into its rounds."""
    iterations: list[Round] = []
    for entry in log:
        is_complete = entry.accepted == entry.width
        if entry.in_order and is_complete:
            iterations += _split_stretch(entry)
        else:
            iterations.append(entry)
    return iterations


def thinning_stride(count: int, max_count: int) -> int:
    """Return the stride at which at most `max_count` of `count` things are left."""
    return max(_ceil_divide(count, max_count), 1)


def rounds_of_entry(entry: Round) -> int:
    """Return the rounds of an entry of the log; a round of which nothing was counted is one."""
    return max(entry.rounds, 1)


def rounds_of_log(log: Sequence[Round]) -> int:
    """Return the rounds of all entries of a log."""
    return sum(rounds_of_entry(entry) for entry in log)


def _split_stretch(entry: Round) -> list[Round]:
    single_step = replace(entry, accepted=1, rounds=1, residuals=(0.0,))
    rounds = []
    for step in range(entry.start, entry.stop):
        rounds.append(replace(single_step, start=step, stop=step + 1))
    return rounds


def _rows_of_log(log: Sequence[Round]) -> list[Round]:
    """Return an entry for every round: one of several rounds is as many rows."""
    rows = []
    for entry in split_iterations(log):
        rows += [entry] * rounds_of_entry(entry)
    return rows


def _fill_row(
    kind: Tensor,
    size: Tensor,
    entry: Round,
    stride: int,
) -> None:
    frontier = entry.start + entry.accepted
    begin = _ceil_divide(entry.start, stride)  # the first column at or after the window's start
    accepted_end = _ceil_divide(frontier, stride)
    skipped = begin * stride - entry.start
    residuals = torch.tensor(entry.residuals)
    residuals = residuals[skipped::stride]
    end = begin + len(residuals)
    kind[begin:end] = WAITING
    kind[begin:accepted_end] = ACCEPTED
    size[begin:end] = _in_thresholds(residuals, entry.threshold)


def _in_thresholds(residuals: Tensor, threshold: float) -> Tensor:
    """Return residuals in units of the threshold; with a threshold of zero, all but zero is infinitely far."""
    if threshold > 0:
        sizes = residuals / threshold
    else:
        sizes = torch.where(residuals == 0, 0.0, torch.inf)
    return sizes.nan_to_num(torch.inf, torch.inf)


def _ceil_divide(number: int, divisor: int) -> int:
    return -(-number // divisor)
