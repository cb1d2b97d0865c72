"""AuditedSteps: accepted steps with what their evaluation at the path, and beside it, shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import ParallelSteps
from forerun.engine.check.sampled_steps import SMALLEST_SHIFT

SMALLEST_ELEMENT: Final = 1e-9  # of the size of an input, that an element is taken for at least
LARGEST_SHIFT_OF_ELEMENT: Final = 2.0  # likewise, where every element is followed by itself
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
        by_element: every element of an output follows its own element of the input alone.
        slopes: one an element then, `(n, *batch, D)`; None before they are learnt.
    """

    steps: ParallelSteps
    outputs: Tensor
    shifts: Tensor | None = None
    changes: Tensor | None = None
    surprises: Tensor | None = None
    directions: Tensor | None = None
    is_cautious: bool = False
    by_element: bool = False
    slopes: Tensor | None = None

    def choose_shifts(self, distances: Tensor) -> Tensor:
        """Return shifts along distances `(n, *batch, D)` from the inputs: not so small that they drown in rounding."""
        if self.by_element:
            return self._choose_shifts_by_element(distances)
        smallest = torch.finfo(distances.dtype).tiny
        sizes = row_norms(distances)
        input_sizes = row_norms(self.steps.inputs)
        factors = (SMALLEST_SHIFT * input_sizes / sizes.clamp_min(smallest)).clamp_min(1.0)
        largest = LARGEST_SHIFT * input_sizes / sizes.clamp_min(smallest)
        shifts = distances * torch.minimum(factors, largest)
        return torch.where(shifts.isfinite().all(-1, keepdim=True), shifts, 0.0)

    def _choose_shifts_by_element(self, distances: Tensor) -> Tensor:
        """Return shifts of which every element is large enough to show its own slope."""
        sizes = self.steps.inputs.abs()
        smallest = SMALLEST_SHIFT * sizes.clamp_min(SMALLEST_ELEMENT * row_norms(sizes))
        largest = LARGEST_SHIFT_OF_ELEMENT * row_norms(sizes)
        lengths = torch.minimum(distances.abs().nan_to_num(0.0).maximum(smallest), largest)
        return torch.where(distances < 0, -lengths, lengths)

    def learn_shifts(
        self,
        shifts: Tensor,
        shifted_outputs: Tensor,
    ) -> AuditedSteps:
        """Return the steps with what their outputs at `x + h` show."""
        if self.by_element:
            slopes = ((shifted_outputs - self.outputs) / shifts).nan_to_num(0.0, 0.0, 0.0)
            return replace(self, slopes=slopes)
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

    def correct_change(
        self,
        index: int,
        distance: Tensor,
        change: Tensor,
    ) -> Tensor:
        """Return the change `J d` that the check takes a step's output to make, corrected along `h`."""
        if self.slopes is not None:
            return self.slopes[index] * distance
        if self.surprises is None or self.directions is None:
            return change
        weight = (self.directions[index] * distance).sum(-1, keepdim=True)
        return change + weight * self.surprises[index]


def measure_shares(distances: Tensor, inputs: Tensor) -> Tensor:
    """Return distances in sizes of their inputs, `(n, *batch)`: infinite where one is not a number."""
    smallest = torch.finfo(distances.dtype).tiny
    shares: Tensor = (row_norms(distances) / row_norms(inputs).clamp_min(smallest)).squeeze(-1)
    return shares.nan_to_num(torch.inf)


def row_norms(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, `(..., 1)`."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return norms
