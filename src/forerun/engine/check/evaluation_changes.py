"""EvaluationChanges: how the outputs of steps changed with their inputs, from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from forerun.engine.methods.evaluations import StepEvaluations

LARGEST_CHANGE: Final = 10  # times the largest element of an input, beyond which a guess was far off
CHANGE_ROUNDINGS: Final = 8  # of the largest element of an input, that a change must be more than


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

    def drop_useless(self, inputs: Tensor) -> EvaluationChanges:
        """Return the changes without those that show nothing of the slopes at the accepted inputs `(n, *batch, D)`.

        Those by no more than rounding, or from a guess that was far off all that the path comes to: slopes that are
        made of such changes grow beyond all bounds from update to update.
        """
        if not inputs.shape[-1]:
            return self
        sizes = inputs.abs().amax(-1, keepdim=True).unsqueeze(-1)
        largest_changes = self.inputs.abs().amax(-1, keepdim=True)
        is_useful = largest_changes > CHANGE_ROUNDINGS * torch.finfo(inputs.dtype).eps * sizes
        is_useful = is_useful & (largest_changes <= LARGEST_CHANGE * sizes)
        if is_useful.is_cpu and is_useful.all():  # elsewhere the answer would have to be waited for
            return self
        return EvaluationChanges(torch.where(is_useful, self.inputs, 0.0), torch.where(is_useful, self.outputs, 0.0))

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
        return cls(_stack_oldest_first(inputs), _stack_oldest_first(outputs))


def differs_beyond_rounding(rows: Tensor, others: Tensor) -> bool:
    """Return whether one of some inputs lies farther from the other than rounding takes it."""
    if not rows.numel():
        return False
    sizes = rows.abs().amax(-1, keepdim=True)
    changes = (rows - others).abs().amax(-1, keepdim=True)
    return bool((changes > CHANGE_ROUNDINGS * torch.finfo(rows.dtype).eps * sizes).any())


def _stack_oldest_first(rows: Sequence[Tensor]) -> Tensor:
    """Return rows `(n, *batch, D)`, the newest first, as one tensor `(n, *batch, K, D)`; one alone is not copied."""
    if len(rows) == 1:
        return rows[0].unsqueeze(-2)
    return torch.stack([*reversed(rows)], -2)


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
