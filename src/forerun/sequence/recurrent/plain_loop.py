"""The plain loop over a cell, as its user would write it, and its answer as a `Solution`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows import stack_states
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.recurrence import slice_steps


@dataclass(frozen=True)
class PlainLoop:
    """The plain loop over a cell; differentiable in everything.

    Attributes:
        cell: a cell of `torch.nn`, a function `(h, x) -> h`, or a `Cell`.
        layout: of the hidden state in rows.
        h0: the first state.
        xs: the inputs; of a `Cell`, what it made of them.
    """

    cell: Any
    layout: RowLayout
    h0: Tree
    xs: Tree

    def run_steps(self, length: int) -> Tree:
        """Return the states after each of the first steps, a tree with a leading axis."""
        hidden = self.h0
        states = []
        for step in range(length):
            hidden = self._take_step(hidden, step)
            states.append(hidden)
        return stack_states(states)

    def take_first_step(self) -> None:
        """Take one step, to be measured."""
        self.run_steps(1)

    @torch.no_grad()
    def describe_run(
        self,
        hidden: Tree,
        length: int,
        *,
        seconds: float,
        note: str,
    ) -> Solution:
        """Return the account of a run of `length` steps through the states `hidden`."""
        last = tree_map(lambda leaf: leaf[-1].detach(), hidden)
        state = self.layout.pack(last)
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
            deviation=torch.zeros(self.layout.batch, device=self.layout.device),
            checkpoint=checkpoint,
            seconds=RunTiming(evaluate=seconds),
            notes=(note,),
        )

    def _take_step(self, hidden: Tree, step: int) -> Tree:
        if isinstance(self.cell, Cell):
            row = self.layout.pack(hidden).unsqueeze(0)
            inputs = slice_steps(self.xs, step, step + 1)
            return self.layout.unpack(self.cell.step_rows(row, inputs)[0])
        x = tree_map(lambda leaf: leaf[step], self.xs)
        if isinstance(self.cell, nn.RNNCellBase):
            return self.cell(x, hidden)
        return self.cell(hidden, x)
