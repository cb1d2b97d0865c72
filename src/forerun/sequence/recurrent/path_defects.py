"""The defects of a path: how far each state is from the step before it, measured by the sizes of the states."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.tolerance import rms
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
        columns = slice(begin, begin + size)
        values = path[..., columns]
        floor = FLOOR_ROUNDINGS * rms(values).unsqueeze(-1)
        allowed = DEFECT_ROUNDINGS * _largest_nearby(values) + floor
        excess = defects[..., columns] > unit * allowed
        if bool(excess.any()):
            steps = excess.flatten(1).any(1).nonzero()
            step = int(steps[0])
            return f"from step {step} on some of its elements are too small for the tolerance of the others"
        begin += size
    return None


def _largest_nearby(values: Tensor) -> Tensor:
    """Return the largest size of each element over the steps nearby, `(T, B, D)`."""
    rows = values.abs().flatten(1)
    columns = rows.movedim(0, -1).unsqueeze(0)  # (1, B D, T)
    largest = torch.nn.functional.max_pool1d(
        columns,
        2 * NEIGHBOURS + 1,
        stride=1,
        padding=NEIGHBOURS,
    )
    rows = largest.squeeze(0).movedim(-1, 0)
    return rows.reshape(values.shape)
