"""EvaluationChanges: how the outputs of steps changed with their inputs, from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from forerun.engine.methods.evaluations import StepEvaluations


@dataclass(frozen=True)
class EvaluationChanges:
    """Differences of successive evaluations of `n` consecutive steps, the oldest first.

    Zero where a step was not evaluated twice.

    Attributes:
        inputs: `du`, `(n, *batch, K, D)`.
        outputs: `do`, `(n, *batch, K, E)`.
    """

    inputs: Tensor
    outputs: Tensor

    @classmethod
    def from_evaluations(
        cls,
        evaluations: Sequence[StepEvaluations],
        start: int,
        count: int,
    ) -> EvaluationChanges | None:
        """Return the changes of the steps `start .. start+count-1`; None where none was evaluated twice.

        Args:
            evaluations: the newest first.
            start: the first step.
            count: number of steps.
        """
        inputs, outputs = [], []
        selected = [evaluation.select_steps(start, count) for evaluation in evaluations]
        for newer, older in pairwise(selected):
            shared = min(len(newer), len(older))
            if not shared:
                break
            input_changes = newer.inputs[:shared] - older.inputs[:shared]
            output_changes = newer.outputs[:shared] - older.outputs[:shared]
            if newer.sparse or older.sparse:
                slots = newer.skeleton.list_common_slots(older.skeleton)
                input_changes = _clear_others(input_changes, slots)
                output_changes = _clear_others(output_changes, slots)
            inputs.append(_pad_steps(input_changes, count))
            outputs.append(_pad_steps(output_changes, count))
        if not inputs:
            return None
        return cls(torch.stack(inputs[::-1], -2), torch.stack(outputs[::-1], -2))


def _clear_others(rows: Tensor, slots: Sequence[int]) -> Tensor:
    """Return the rows of these slots, and zeros in all others."""
    cleared = torch.zeros_like(rows)
    cleared[slots] = rows[slots]
    return cleared


def _pad_steps(rows: Tensor, count: int) -> Tensor:
    """Return the rows, with zeros after them to make it `count`."""
    missing = count - len(rows)
    if not missing:
        return rows
    return torch.cat([rows, rows.new_zeros((missing, *rows.shape[1:]))])
