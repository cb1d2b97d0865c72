"""Samples that are not finite: left out of a run, so that the others go on, and marked again in its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Final, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem

LOST_SAMPLES: Final = (
    "Sample(s) {} gave values that are not finite at step {}, as in the sequential run; they are not finite in the "
    "answer either, and the others went on."
)


@dataclass(frozen=True)
class SampleLoss:
    """Samples `(*batch)` that are not finite after a step."""

    step: int
    samples: Tensor


@final
class NonfiniteSamples:
    """The samples that a run goes on without.

    Args:
        problem: the process in rows; it gives outputs of zero for these samples.
        checkpoint: that the run goes on from, with the samples that were left out before; None where it begins.
        goes_on: whether samples may be left out; where not, the run ends.
    """

    def __init__(self, problem: Problem, checkpoint: Checkpoint | None, *, goes_on: bool) -> None:
        self._problem = problem
        self._goes_on = goes_on
        self._first_step = 0 if checkpoint is None else checkpoint.step
        self._losses: list[SampleLoss] = []
        if checkpoint is not None and checkpoint.nonfinite_samples is not None:
            self._losses.append(SampleLoss(checkpoint.step - 1, checkpoint.nonfinite_samples))

    def leave_out(self, step: int, next_input: Tensor) -> str | None:
        """Leave out the samples that are not finite, and say so; None where the run cannot go on without them.

        Args:
            step: which was taken from its exact state.
            next_input: the row `(*batch, D)` after it.
        """
        excluded = self._problem.excluded
        lost = ~torch.isfinite(next_input).all(-1)
        if excluded is not None:
            lost &= ~excluded
            excluded = excluded | lost
        if not self._goes_on or not lost.any() or (lost if excluded is None else excluded).all():
            return None
        self._problem.excluded = lost if excluded is None else excluded
        self._losses.append(SampleLoss(step, lost))
        return LOST_SAMPLES.format(_list_samples(lost), step)

    def mark_state(self, step: int, state: Tree) -> Tree:
        """Return the state of a step, not finite where samples were left out: in all that an output reaches."""
        lost = [loss.samples for loss in self._losses if loss.step < step]
        if not lost:
            return state
        layout = self._problem.output_layout
        output = torch.zeros(*layout.batch, layout.width, dtype=layout.dtype, device=layout.device)
        output = output.masked_fill(torch.stack(lost).any(0).unsqueeze(-1), nan)
        reached = self._problem.advance(step - 1, state, output)
        return pytree.tree_map(_mark_leaf, state, reached)

    def mark_path(self, states: Sequence[Tree] | None) -> Sequence[Tree] | None:
        """Return the states of the run, marked."""
        if states is None or not self._losses:
            return states
        return [self.mark_state(step, state) for step, state in enumerate(states, self._first_step)]


def ignore_samples(problem: Problem, deviation: Tensor) -> Tensor:
    """Return deviations `(*batch,)` that are zero where samples were left out."""
    return deviation if problem.excluded is None else deviation.masked_fill(problem.excluded, 0.0)


def _mark_leaf(leaf: object, reached_leaf: object) -> object:
    if not isinstance(leaf, Tensor) or not isinstance(reached_leaf, Tensor) or leaf.shape != reached_leaf.shape:
        return leaf
    return leaf.masked_fill(reached_leaf.isnan(), nan) if leaf.is_floating_point() else leaf


def _list_samples(samples: Tensor) -> str:
    places = samples.nonzero().tolist()
    return ", ".join(str(place[0]) if len(place) == 1 else str(tuple(place)) for place in places)
