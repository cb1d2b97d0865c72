"""The witness of a scan: the user's own cell on single steps of the path, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import tree_map, tree_tensors
from forerun.engine.options import SolveOptions
from forerun.engine.witness import Witness, WitnessMemory, describe_difference
from forerun.sequence.recurrent.cells import FunctionCell, restore_structure
from forerun.sequence.recurrent.job import RecurrenceJob
from forerun.sequence.recurrent.plain_loop import PlainLoop
from forerun.sequence.recurrent.replica import describe_gradient_difference

AGREED_CELLS = WitnessMemory()
SCAN_WITNESS = SolveOptions(witness=Witness(share=0.0))  # runs take a twentieth of the loop: two steps are drawn
GRAPHICS_ROUNDINGS = 2.0**17  # of float32 on a GPU, whose kernels may multiply with ten bits: sixteen of theirs


def settle_witness(options: SolveOptions, values: Tensor) -> Witness | None:
    """Return how a recurrence is witnessed; None where it is not.

    Args:
        options: of the caller.
        values: states or inputs, for their dtype and device.
    """
    witness = options.over(SCAN_WITNESS).settled().witness
    if witness is None or not values.is_cuda or values.dtype != torch.float32:
        return witness
    return replace(witness, roundings=max(witness.roundings, GRAPHICS_ROUNDINGS))


@final
@dataclass(frozen=True)
class PathWitness:
    """Calls the user's own cell beside the replica that was solved.

    Attributes:
        loop: over the user's own cell.
        job: what was solved.
        witness: on how many steps, and how far the two may differ.
    """

    loop: PlainLoop
    job: RecurrenceJob
    witness: Witness

    def compare_states(self, before: Tensor, after: Tensor, *, is_loop: bool = False) -> tuple[int, str | None]:
        """Return how many steps the user's own cell was called on, and how it differs, if it does.

        Args:
            before: rows of the states that the steps begin with, `(T, B, D)`.
            after: what the replica made of them.
            is_loop: whether it took them in order, so quickly that a configuration that has agreed before is compared
                on one drawn step alone.
        """
        chosen = self.witness.choose_steps(len(before), known_to_agree=self._is_known)
        if is_loop and self._is_known:
            chosen = [chosen[len(chosen) // 2]]
        for step in chosen:
            difference = self._compare_step(step, before[step].detach(), after[step].detach())
            if difference is not None:
                AGREED_CELLS.forget(self._key)
                return len(chosen), difference
        if chosen and not self._is_known:
            middle = chosen[len(chosen) // 2]
            difference = self.compare_gradients(middle, before[middle])
            if difference is not None:
                return len(chosen), difference
        AGREED_CELLS.remember(self._key)
        return len(chosen), None

    def compare_gradients(self, step: int, row: Tensor) -> str | None:
        """Say how the gradients of a step differ; None where they agree, or none is asked for."""
        if not self.job.needs_gradient or not isinstance(self.job.cell, FunctionCell):
            return None
        return describe_gradient_difference(
            self.loop,
            self.job.cell,
            row,
            step=step,
            witness=self.witness,
        )

    @property
    def _is_known(self) -> bool:
        return self._key in AGREED_CELLS

    @property
    def _key(self) -> Hashable:
        """What is the same for runs that are computed alike."""
        start = self.job.start
        identity: Hashable = type(self.job.cell)
        if isinstance(self.job.cell, FunctionCell) and self.loop.user_cell is not None:
            identity = self.loop.user_cell.identity
        return identity, start.shape, start.dtype, start.device, self.job.length, self.job.needs_gradient

    def _compare_step(self, step: int, row: Tensor, next_row: Tensor) -> str | None:
        layout = self.loop.layout
        state = tree_map(torch.Tensor.clone, layout.unpack(row))
        x = tree_map(lambda leaf: leaf.detach().clone(), self.loop.select_input(step))
        user_state = restore_structure(self.loop.step(state, x), layout)
        user_leaves = [leaf.detach() for leaf in tree_tensors(user_state)]
        replica_leaves = tree_tensors(layout.unpack(next_row))
        difference = describe_difference(user_leaves, replica_leaves, roundings=self.witness.roundings)
        if difference is None:
            return None
        return f"the cell gives another state than its replica at step {step}: {difference}"
