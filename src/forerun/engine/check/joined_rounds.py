"""Rounds joined: what the evaluations of many accepted rounds show, in as many calls as that of one.

The evaluations of all rounds lie under one another in a table; indices say where those of each accepted step stand,
the newest first. Round by round, `EvaluationChanges.from_evaluations` and `estimate_defects` give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from forerun.engine.check.accepted_round import AcceptedRound, EvaluatedWindow
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.output_defects import measure_row_norms
from forerun.engine.numerics.native.walks import subtract_older
from forerun.engine.rows import Problem


@dataclass(frozen=True)
class EvaluationTable:
    """The evaluations of accepted steps, `n` of them in consecutive rounds, and of some rounds before.

    Attributes:
        inputs: all inputs that were evaluated, one window under the other.
        outputs: their outputs.
        predicted: the outputs as they were corrected.
        places: `(n, K + 1)`, where each step stands in the last windows, that of its own round first.
        is_present: whether it does, `(n, K + 1)`.
        is_evaluated: whether it was evaluated there, and not interpolated, `(n, K + 1)`.
        first_of_round: `(n,)`, for each step the first that was accepted with it.
    """

    inputs: Tensor
    outputs: Tensor
    predicted: Tensor
    places: Tensor
    is_present: Tensor
    is_evaluated: Tensor
    first_of_round: Tensor

    @classmethod
    def from_rounds(
        cls, history: Sequence[EvaluatedWindow], rounds: Sequence[AcceptedRound], depth: int
    ) -> EvaluationTable:
        """Return the table of consecutive rounds.

        Args:
            history: the windows before them.
            rounds: the rounds, with at least one accepted step each.
            depth: windows to look for a step in, besides that of its own round.
        """
        last_stop = rounds[-1].stop
        windows = [*history, *(accepted_round.window for accepted_round in rounds)]
        lengths = [min(len(window), max(last_stop - window.start, 0)) for window in windows]
        counts = [0] * len(history) + [accepted_round.accepted for accepted_round in rounds]
        device = windows[0].predicted.device

        def to_tensor(numbers: Sequence[int]) -> Tensor:
            return torch.tensor(numbers, device=device)

        starts, sizes = to_tensor([window.start for window in windows]), to_tensor(lengths)
        offsets = to_tensor([0, *accumulate(lengths[:-1])])
        owners = torch.repeat_interleave(to_tensor(counts))
        steps = torch.arange(rounds[0].start, last_stop, device=device)
        lagged = owners.unsqueeze(1) - torch.arange(depth + 1, device=device)
        source = lagged.clamp_min(0)
        slots = steps.unsqueeze(1) - starts[source]
        is_present = (lagged >= 0) & (slots < sizes[source])
        places = torch.where(is_present, offsets[source] + slots, 0)
        is_evaluated = is_present
        if any(window.evaluations.sparse for window in windows):
            flags = torch.frombuffer(_flag_evaluated(windows, lengths), dtype=torch.bool)
            is_evaluated = is_present & flags.to(device)[places]
        return cls(
            inputs=_stack_leading([window.evaluations.inputs for window in windows], lengths),
            outputs=_stack_leading([window.evaluations.outputs for window in windows], lengths),
            predicted=_stack_leading([window.predicted for window in windows], lengths),
            places=places,
            is_present=is_present,
            is_evaluated=is_evaluated,
            first_of_round=to_tensor([0, *accumulate(counts[:-1])])[owners],
        )

    def measure_changes(self) -> EvaluationChanges:
        """Return the changes of the steps; zero where one was not evaluated twice."""
        twice = self.is_evaluated[:, :-1] & self.is_evaluated[:, 1:]
        newer, older = self.places[:, :-1], torch.where(twice, self.places[:, 1:], -1)
        return EvaluationChanges(
            inputs=_subtract_older(self.inputs, newer, older), outputs=_subtract_older(self.outputs, newer, older)
        )

    def measure_defects(
        self,
        problem: Problem,
        moves: Tensor,
    ) -> Tensor:
        """Return the defects `(n, *batch, E)` of steps whose inputs moved so; see `estimate_defects`."""
        surprise = self.outputs[self.places[:, 0]] - self.predicted[self.places[:, 1]]
        change = measure_row_norms(self.inputs[self.places[:, 0]] - self.inputs[self.places[:, 1]])
        rate = torch.where(change > 0, surprise / change, 0.0)
        indices = torch.arange(len(moves), device=moves.device)
        nearest = torch.where(self.is_present[:, 1], indices, -1).cummax(0).values
        is_rated = _like_rows(nearest >= self.first_of_round, rate)
        defects = rate[nearest.clamp_min(0)] * measure_row_norms(moves)
        return torch.where(is_rated, defects, moves if problem.accepts_slopes else 0.0)


def _flag_evaluated(windows: Sequence[EvaluatedWindow], lengths: Sequence[int]) -> bytearray:
    """Return for each step of each window whether it was evaluated, one window after the other."""
    flags = bytearray()
    for window, length in zip(windows, lengths, strict=True):
        skeleton = window.evaluations.sparse
        if skeleton is None:
            flags += b"\x01" * length
            continue
        window_flags = bytearray(b"\x01" * skeleton.dense_count).ljust(len(window), b"\x00")
        for step in skeleton.far_steps:
            window_flags[step - window.start] = 1
        flags += window_flags[:length]
    return flags


def _stack_leading(tensors: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Return the leading rows of some tensors, one under the other."""
    pairs = zip(tensors, lengths, strict=True)
    return torch.cat([rows if length == rows.shape[0] else rows[:length] for rows, length in pairs])


def _subtract_older(
    rows: Tensor,
    newer: Tensor,
    older: Tensor,
) -> Tensor:
    """Return the differences `(n, *batch, K, D)` of rows at some places, newest first, the oldest first."""
    changes = subtract_older(rows, newer, older)
    if changes is not None:
        return changes
    changes = rows[newer] - rows[older.clamp_min(0)]
    changes = torch.where(_like_rows(older >= 0, changes), changes, 0.0)
    return changes.flip(1).movedim(1, -2)


def _like_rows(flags: Tensor, rows: Tensor) -> Tensor:
    """Return flags with the axes of rows after their own."""
    return flags.reshape(*flags.shape, *[1] * (rows.dim() - flags.dim()))
