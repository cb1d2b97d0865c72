"""The plain loop over a cell, as its user would write it, and its answer as a `Solution`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.noise import remember_generators
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows import stack_states
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.user_cell import UserCell, read_versions


@dataclass(frozen=True)
class PlainLoop:
    """The plain loop over a cell; differentiable in everything.

    Attributes:
        step: one step, `(h, x) -> h`, as the user's own loop calls it.
        layout: of the hidden state in rows.
        h0: the first state.
        xs: the inputs; of a `Cell`, what it made of them.
        restore_generators: sets torch's generators back to where they were before the cell was tried.
    """

    step: Callable[[Tree, Tree], Tree]
    layout: RowLayout
    h0: Tree
    xs: Tree
    restore_generators: Callable[[], None]

    @classmethod
    def from_cell(cls, cell: Any, h0: Tree, xs: Tree) -> PlainLoop:
        """Return the loop over a cell of `torch.nn`, a function `(h, x) -> h`, or a `Cell`."""
        layout = RowLayout.from_tree(h0, batch_dims=1, name="state")
        restore = remember_generators(layout.device)
        if isinstance(cell, Cell):
            return cls(_RowStep(cell, layout), layout, h0, cell.prepare_inputs(xs), restore)
        return cls(UserCell.from_callable(cell), layout, h0, xs, restore)

    @property
    def user_cell(self) -> UserCell | None:
        """The user's own cell; None of a `Cell`."""
        if isinstance(self.step, UserCell):
            return self.step
        return None

    def select_input(self, step: int) -> Tree:
        """Return what enters a step."""
        return tree_map(lambda leaf: leaf[step], self.xs)

    def with_copies(self) -> PlainLoop:
        """Return the loop over a cell that changes what it gets: it gets copies."""
        if self.user_cell is None:
            return self
        return replace(self, step=replace(self.user_cell, copies=True))

    def run_steps(self, length: int) -> Tree:
        """Return the states after each of the first steps, a tree with a leading axis.

        Raises:
            RuntimeError: the cell changed a state in place that it had returned before.
        """
        self.restore_generators()
        hidden = self.h0
        states = []
        for step in range(length):
            versions = read_versions(hidden)
            next_hidden = self.step(hidden, self.select_input(step))
            if read_versions(hidden) != versions:
                raise RuntimeError(
                    f"the cell changed its state in place at step {step}, so that the states before it are lost; "
                    "return a new tensor, such as h * 0.5 for h.mul_(0.5)"
                )
            hidden = next_hidden
            states.append(hidden)
        return stack_states(states)

    @torch.no_grad()
    def describe_run(
        self,
        hidden: Tree,
        length: int,
        *,
        seconds: float,
        notes: Sequence[str],
    ) -> Solution:
        """Return the account of a run of `length` steps through the states `hidden`."""
        last = tree_map(lambda leaf: leaf[-1].detach(), hidden)
        layout = RowLayout.from_tree(last, batch_dims=1, name="state")
        state = layout.pack(last)
        checkpoint = Checkpoint(
            step=length,
            length=length,
            state=state,
            rounds=length,
            evaluations=length,
        )
        return Solution(
            state=state,
            length=length,
            status=Status.SEQUENTIAL,
            log=(),
            deviation=torch.zeros(layout.batch, device=layout.device),
            checkpoint=checkpoint,
            seconds=RunTiming(evaluate=seconds),
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class _RowStep:
    """One step of a `Cell`, on the tree of a state."""

    cell: Cell
    layout: RowLayout

    def __call__(self, hidden: Tree, prepared: Tree) -> Tree:
        row = self.layout.pack(hidden).unsqueeze(0)
        inputs = tree_map(lambda leaf: leaf.unsqueeze(0), prepared)
        return self.layout.unpack(self.cell.step_rows(row, inputs)[0])
