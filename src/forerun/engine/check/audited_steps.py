"""AuditedSteps: accepted steps with what their evaluation at the path, and beside it, shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import ParallelSteps
from forerun.engine.check.sampled_steps import SMALLEST_SHIFT

LARGEST_SHIFT: Final = 0.1  # of the size of an input: beyond, a slope is another one


@dataclass(frozen=True)
class AuditedSteps:
    """Parallel steps with what their evaluation shows.

    Attributes:
        steps: as accepted.
        outputs: `f(x)`, `(n, *batch, E)`.
        shifts: `h`, `(n, *batch, D)`; zero where nothing was learnt of one. None before they are chosen.
        changes: `f(x + h) - f(x)`, `(n, *batch, E)`.
        surprises: `f(x + h) - f(x) - J h`.
        directions: `h / |h|^2`.
        is_cautious: a distance is not taken to shrink faster than along its shift.
    """

    steps: ParallelSteps
    outputs: Tensor
    shifts: Tensor | None = None
    changes: Tensor | None = None
    surprises: Tensor | None = None
    directions: Tensor | None = None
    is_cautious: bool = False

    def choose_shifts(self, distances: Tensor) -> Tensor:
        """Return shifts along distances `(n, *batch, D)` from the inputs: not so small that they drown in rounding."""
        smallest = torch.finfo(distances.dtype).tiny
        sizes = row_norms(distances)
        input_sizes = row_norms(self.steps.inputs)
        factors = (SMALLEST_SHIFT * input_sizes / sizes.clamp_min(smallest)).clamp_min(1.0)
        largest = LARGEST_SHIFT * input_sizes / sizes.clamp_min(smallest)
        shifts = distances * torch.minimum(factors, largest)
        return torch.where(shifts.isfinite().all(-1, keepdim=True), shifts, 0.0)

    def learn_shifts(self, shifts: Tensor, shifted_outputs: Tensor) -> AuditedSteps:
        """Return the steps with what their outputs at `x + h` show."""
        smallest = torch.finfo(shifts.dtype).tiny
        scale = shifts.abs().amax(-1, keepdim=True).clamp_min(smallest)
        units = shifts / scale
        directions = units / units.square().sum(-1, keepdim=True).clamp_min(smallest) / scale
        changes = shifted_outputs - self.outputs
        surprises = changes - self.steps.jacobian.multiply_moves(shifts)
        is_usable = surprises.isfinite().all(-1, keepdim=True) & directions.isfinite().all(-1, keepdim=True)
        return replace(
            self,
            shifts=torch.where(is_usable, shifts, 0.0),
            changes=torch.where(is_usable, changes, 0.0),
            surprises=torch.where(is_usable, surprises, 0.0),
            directions=torch.where(is_usable, directions, 0.0),
        )

    def correct_change(self, index: int, distance: Tensor, change: Tensor) -> Tensor:
        """Return the change `J d` that the check takes a step's output to make, corrected along `h`."""
        if self.surprises is None or self.directions is None:
            return change
        weight = (self.directions[index] * distance).sum(-1, keepdim=True)
        return change + weight * self.surprises[index]


def row_norms(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, `(..., 1)`."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return norms
