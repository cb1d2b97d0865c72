"""Residuals: how far the inputs of a window moved in a round, and how many steps may be accepted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

import torch
from torch import Tensor

from forerun.engine.methods import WindowState, WindowUpdate
from forerun.engine.methods.blocks import FAR_APART
from forerun.engine.rounds import Round
from forerun.engine.tolerance import Tolerance

ROUNDED_MOVE: Final = 8  # roundings of its largest element, that an input may move by without showing a slope


@dataclass(frozen=True)
class Residuals:
    """How far the inputs of a window moved in a round.

    Attributes:
        sizes: the largest move over the samples, one a step of the window, in the norm of the tolerance; the first
            step's is zero.
        finite_inputs: how many leading inputs of the update are finite; with the one after the last step there are
            one more of them than steps.
        unmoved: how many leading steps did not move at all; a size of zero may be a move whose square underflows.
        evaluated: how many leading steps were evaluated, and not interpolated.
    """

    sizes: list[float]
    finite_inputs: int
    unmoved: int
    evaluated: int

    @classmethod
    def measure(cls, window: WindowState, update: WindowUpdate, tolerance: Tolerance) -> Residuals:
        """Measure the moves of a window; this is where a round waits for the device, once."""
        if update.in_order and isfinite(update.inputs.sum()):
            count = len(update.moves)  # every step from its exact input
            return cls([0.0] * count, count + 1, count, count)
        steps = window.problem.step_range(window.start, window.start + update.moves.shape[0])
        norms = tolerance.norm(steps, update.moves, update.inputs[:-1])
        integer_moves = window.problem.input_layout.find_integer_moves(update.moves)
        if integer_moves is not None:  # another integer is never near, however many elements share the norm
            norms = norms.masked_fill(integer_moves, FAR_APART)
        end_sum = update.inputs[-1:].sum()  # finite only where all of its elements are
        *sizes, end_sum = torch.cat([_over_samples(norms), end_sum.to(norms).reshape(1)]).tolist()
        evaluated = update.evaluations.skeleton.dense_count
        unmoved = min(_count_unmoved(update, sizes), evaluated)
        if isfinite(end_sum) and count_finite(sizes) == len(sizes):
            return cls(sizes, len(update.inputs), unmoved, evaluated)
        # rarely a second wait: a guess may be wild, or a norm overflow, where the new input is sound
        return cls(sizes, _count_finite_rows(update.inputs), unmoved, evaluated)

    def count_accepted(self, threshold: float) -> int:
        """Return how many steps to accept: the exact first, and those after it whose residuals keep the threshold.

        None where its output was interpolated.
        """
        most = min(self.evaluated, self.finite_inputs - 1)
        for index, size in enumerate(self.sizes[:most]):
            # not `size > threshold`, which would let nan pass
            if index and not size <= threshold:
                return index
        return most

    def count_confirmed(self, window: WindowState, update: WindowUpdate, previous: Round | None) -> int:
        """Return how many leading steps a check may accept: they never moved, or their slopes have been seen.

        A step shows its slope where it was evaluated in the round before too, and at another input. What a step that
        was evaluated at one input makes of a move is unknown, unless it moved by no more than rounding.

        Args:
            window: the window of this round.
            update: what the method made of it.
            previous: the round before; None in the first.
        """
        if window.previous is None or previous is None:
            return max(self.unmoved, 1)
        evaluated_before = window.previous.select_steps(window.start, len(self.sizes))
        evaluated_twice = evaluated_before.skeleton.dense_count
        offset = window.start - previous.start
        previous_sizes = previous.residuals[offset : offset + evaluated_twice]
        pairs = zip(self.sizes, previous_sizes, strict=False)
        unseen = [index for index, (size, previous_size) in enumerate(pairs) if size != 0 and previous_size == 0]
        count = max(len(previous_sizes), 1)
        if unseen:
            count = _find_first_move(update, unseen, count)
        return max(self.unmoved, min(count, len(self.sizes)))

    def count_sound(self, accepted: int) -> int:
        """Return how many leading steps tell something: those before the first that met something not finite."""
        return max(accepted, min(self.finite_inputs - 1, count_finite(self.sizes)))


def count_finite(sizes: Sequence[float]) -> int:
    """Return how many leading sizes are finite."""
    if sum(sizes) < inf:  # nan is not
        return len(sizes)
    return next((index for index, size in enumerate(sizes) if not size < inf), len(sizes))


def _over_samples(norms: Tensor) -> Tensor:
    """Return the largest norm over the samples, `(W, *batch) -> (W,)`; zero where there are no samples."""
    if not norms.numel():
        return norms.new_zeros(len(norms))
    if norms.dim() == 1:
        return norms
    return norms.flatten(1).amax(1)


def _count_unmoved(update: WindowUpdate, sizes: Sequence[float]) -> int:
    """Return how many leading steps did not move, not even by what a norm leaves out; the first never does."""
    zeros = 0
    while zeros < len(sizes) and sizes[zeros] == 0:
        zeros += 1
    if zeros < 2 or update.in_order:
        return zeros
    moved = (update.moves[:zeros] != 0).reshape(zeros, -1).any(1)
    return int((~moved).cumprod(0).sum())


def _find_first_move(update: WindowUpdate, steps: Sequence[int], count: int) -> int:
    """Return the first of some steps that moved by more than rounding; `count` where none did."""
    moves = update.moves[steps]
    largest = update.inputs[steps].abs().amax(-1, keepdim=True)
    is_rounded = moves.abs() <= ROUNDED_MOVE * torch.finfo(moves.dtype).eps * largest
    for step, rounded in zip(steps, is_rounded.reshape(len(steps), -1).all(1).tolist(), strict=True):
        if not rounded:
            return step
    return count


def _count_finite_rows(inputs: Tensor) -> int:
    finite = torch.isfinite(inputs).reshape(len(inputs), -1).all(1)
    return int(finite.cumprod(0).sum())
