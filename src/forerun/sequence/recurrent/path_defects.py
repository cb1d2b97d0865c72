"""The defects of a path: how far each state is from the step before it, measured by the sizes of the states."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.layout import RowLayout
from forerun.sequence.recurrent.recurrence import rounding_unit

DEFECT_ROUNDINGS = 4096  # of an element's own size nearby, that it may be off
FLOOR_ROUNDINGS = 8  # of the size of its tensor, that an element may always be off
NEIGHBOURS = 32  # steps before and after, over which the size of an element is taken: it may pass through zero


@torch.no_grad()
def describe_coarse_path(path: Tensor, rows: Tensor, layout: RowLayout) -> str | None:
    """Say where a path keeps its tolerance, but not the size of some of its states; None where it does.

    A tolerance is one size a state. Elements that are much smaller than the others, or than the states of the first
    steps, may be off by more than their own size and keep it.

    Args:
        path: rows of the states that the steps ended with, `(T, B, D)`.
        rows: what the cell makes of those they began with.
        layout: of the rows.
    """
    unit = rounding_unit(path)
    defects = (rows - path).abs()
    begin = 0
    for size in layout.sizes:
        values = path[..., begin : begin + size]
        allowed = DEFECT_ROUNDINGS * _largest_nearby(values)
        allowed += FLOOR_ROUNDINGS * values.square().mean(-1, keepdim=True).sqrt()
        excess = defects[..., begin : begin + size] > unit * allowed
        if bool(excess.any()):
            step = int(excess.flatten(1).any(1).nonzero()[0])
            return f"from step {step} on some of its elements are too small for the tolerance of the others"
        begin += size
    return None


def _largest_nearby(values: Tensor) -> Tensor:
    """Return the largest size of each element over the steps nearby, `(T, B, D)`."""
    columns = values.abs().flatten(1).movedim(0, -1).unsqueeze(0)  # (1, B D, T)
    width = 2 * NEIGHBOURS + 1
    largest = torch.nn.functional.max_pool1d(columns, width, stride=1, padding=NEIGHBOURS)
    return largest.squeeze(0).movedim(-1, 0).reshape(values.shape)
