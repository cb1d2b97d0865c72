"""ArithmeticDrift: by how much rows that a closed form gave differ from the step's own arithmetic, `a x + b o + c`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.rows import AffineMaps

DRIFT_ELEMENTS: Final = 2**18  # of the rows of a round, up to which they are looked at; and of rounds that wait


class AdvancedRows(NamedTuple):
    """Accepted rows of a round: before and after their steps, with the outputs that these were advanced by."""

    maps: AffineMaps
    rows: Tensor
    outputs: Tensor
    next_rows: Tensor


@dataclass(frozen=True)
class ArithmeticDrift:
    """What accepted rows differ by, summed up.

    Attributes:
        total: of the rounds that do not wait, `(*batch, D)`; None for zero.
        waiting: rounds to be measured together.
        waiting_elements: numbers that their windows hold.
    """

    total: Tensor | None = None
    waiting: tuple[AdvancedRows, ...] = ()
    waiting_elements: int = 0

    def add_round(
        self,
        window_state: WindowState,
        update: WindowUpdate,
        accepted: int,
    ) -> ArithmeticDrift:
        """Return the drift with that of the accepted steps of one more round, if they have a closed form."""
        problem, start, rows = window_state.problem, window_state.start, update.inputs
        if rows[: accepted + 1].numel() > DRIFT_ELEMENTS or not problem.has_closed_form(start, accepted):
            return self
        maps = problem.affine_maps(start, accepted)
        if maps is None:
            return self
        advanced = AdvancedRows(maps, rows[:accepted], update.outputs[:accepted], rows[1 : accepted + 1])
        elements = self.waiting_elements + 2 * rows.numel()
        drift = ArithmeticDrift(self.total, (*self.waiting, advanced), elements)
        return drift if elements <= DRIFT_ELEMENTS else drift.measure_waiting()

    def measure_waiting(self) -> ArithmeticDrift:
        """Return the drift when no round waits any more."""
        if not self.waiting:
            return self
        maps, rows, outputs, next_rows = zip(*self.waiting, strict=True)
        advanced_rows = AffineMaps.from_parts(maps).advance_rows(torch.cat(rows), torch.cat(outputs))
        drift = (advanced_rows - torch.cat(next_rows)).sum(0)
        return ArithmeticDrift(drift if self.total is None else self.total + drift)
