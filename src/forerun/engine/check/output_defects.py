"""The defects of accepted outputs: how wrong their correction by slopes is estimated to be."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.native.rows import measure_norms
from forerun.engine.rows import Problem

LARGEST_FACTOR: Final = 1e30  # of a surprise


def estimate_defects(
    problem: Problem,
    evaluations: StepEvaluations,
    predicted: StepEvaluations | None,
    moves: Tensor,
) -> Tensor:
    """Return the defects `r` `(n, *batch, E)` of the accepted steps of a round.

    A step evaluated once errs like the one before it. Where none was evaluated twice, the slope may be wrong by
    one (`r = m`), which only a warm start meets; nothing can be said where inputs and outputs differ in size.

    Args:
        problem: the process, in rows.
        evaluations: of its window, before the first step that is not finite.
        predicted: the last evaluation of each step, with the outputs that the sweep then took for the next one.
        moves: how far the inputs of the accepted steps moved.
    """
    accepted = len(moves)
    if predicted is not None:
        predicted = predicted.select_steps(evaluations.start, accepted)
    if not predicted:
        if problem.accepts_slopes:
            return moves
        return torch.zeros_like(evaluations.outputs[:accepted])
    count = len(predicted)
    surprise = evaluations.outputs[:count] - predicted.outputs
    change = measure_row_norms(evaluations.inputs[:count] - predicted.inputs)
    if count < accepted:
        surprise = _repeat_last(surprise, accepted)
        change = _repeat_last(change, accepted)
    # one factor a row, as rows may be so wide that every pass over them shows
    factors = torch.where(change > 0, measure_row_norms(moves) / change, 0.0).clamp_max(LARGEST_FACTOR)
    return surprise * factors


def _repeat_last(rows: Tensor, count: int) -> Tensor:
    """Return the rows, the last of them repeated to make it `count`."""
    return torch.cat([rows, rows[-1:].expand(count - len(rows), *rows.shape[1:])])


def measure_row_norms(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, `(..., 1)`; scaled first, as the squares of small moves underflow."""
    native_norms = measure_norms(rows)
    if native_norms is not None:
        return native_norms
    scale = rows.abs().amax(-1, keepdim=True) if rows.shape[-1] else rows.sum(-1, keepdim=True)
    scale = scale.clamp_min(torch.finfo(rows.dtype).tiny)
    norms: Tensor = torch.linalg.vector_norm(rows / scale, dim=-1, keepdim=True)
    return norms * scale
