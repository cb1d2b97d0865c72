"""RoundingSizes: the sizes of the rounding of accepted steps, measured for many rounds together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance

WAITING_ENDS: Final = 64  # rounds that wait to be measured together, at most
WAITING_ELEMENTS_OF_ENDS: Final = 2**18  # that the windows of these hold


class AcceptedEnd(NamedTuple):
    """The end of what a round accepted.

    Attributes:
        accepted: number of accepted steps.
        step: the step after them.
        row: its input, `(*batch, D)`.
    """

    accepted: int
    step: int
    row: Tensor


@dataclass(frozen=True)
class RoundingSizes:
    """The size of one step's rounding, `eps |x|` in the norm of the tolerance, at the end of every round.

    Attributes:
        measured: numbers of accepted steps with one size for each, in groups of rounds.
        waiting: rounds that have not been measured yet.
        waiting_elements: numbers that their windows hold.
    """

    measured: tuple[tuple[tuple[int, ...], Tensor], ...] = ()
    waiting: tuple[AcceptedEnd, ...] = ()
    waiting_elements: int = 0

    def add_round(
        self,
        problem: Problem,
        tolerance: Tolerance,
        update: WindowUpdate,
        accepted: int,
    ) -> RoundingSizes:
        """Return the sizes with those of one more round."""
        end = AcceptedEnd(accepted, update.evaluations.start + accepted, update.inputs[accepted])
        elements = self.waiting_elements + update.inputs.numel()
        sizes = RoundingSizes(self.measured, (*self.waiting, end), elements)
        if len(sizes.waiting) < WAITING_ENDS and elements <= WAITING_ELEMENTS_OF_ENDS:
            return sizes
        return sizes.measure_waiting(problem, tolerance, update.states[accepted - 1])

    def measure_waiting(
        self,
        problem: Problem,
        tolerance: Tolerance,
        state: Tree,
    ) -> RoundingSizes:
        """Return the sizes when no round waits any more.

        Args:
            problem: the process, in rows.
            tolerance: in whose norm they are measured.
            state: the last accepted state.
        """
        if not self.waiting:
            return self
        rows = torch.stack([end.row for end in self.waiting])
        last_step = problem.length - 1
        steps = torch.tensor([min(end.step, last_step) for end in self.waiting], device=rows.device)
        sizes = tolerance.norm(steps, coarsest_epsilon(problem, state) * rows, rows).reshape(len(rows), -1)
        largest = sizes.amax(1) if sizes.numel() else sizes.sum(1)
        counts = tuple(end.accepted for end in self.waiting)
        return replace(self, measured=(*self.measured, (counts, largest)), waiting=(), waiting_elements=0)

    def spread_sizes(self) -> Tensor:
        """Return the size of the rounding of each step, in their order, on the CPU: float64."""
        assert not self.waiting, "measure_waiting comes first"
        sizes = [size.double().cpu().repeat_interleave(torch.tensor(counts)) for counts, size in self.measured]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *sizes])


def coarsest_epsilon(problem: Problem, state: Tree) -> float:
    """Return the rounding of the coarsest floating numbers that a state holds or rows are made of."""
    epsilons = [torch.finfo(problem.input_layout.dtype).eps]
    epsilons += [torch.finfo(leaf.dtype).eps for leaf in tree_tensors(state) if leaf.is_floating_point()]
    return max(epsilons)
