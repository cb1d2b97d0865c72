"""Box dimension: how fast the boxes that a set of cells meets grow in number as they get smaller.

With `N(s)` boxes of side `s`, the dimension is the slope of `log N` over `-log s`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

__all__ = ["BoxDimension", "count_boxes", "count_neighbours"]

SMALLEST_BOUNDARY = 16  # cells of a boundary whose dimension can be measured


@dataclass(frozen=True)
class BoxDimension:
    """The box dimension of a boundary.

    Attributes:
        dimension: the slope: 1 for a curve that is smooth at this scale, up to 2.
        error: the standard error of the fitted line; what a finite image leaves out besides is not in it.
        counts: boxes that the boundary meets, by their side in cells.
    """

    dimension: float
    error: float
    counts: dict[int, int]


def count_boxes(boundary: Tensor) -> BoxDimension:
    """Return the box dimension of a set of cells.

    Boxes have sides of 1, 2, 4 and so on, up to an eighth of the image.

    Args:
        boundary: bool `(R, R)`, R at least 32.

    Raises:
        ValueError: an image of another shape, or with next to nothing in it.
    """
    if boundary.dim() != 2 or min(boundary.shape) < 32:
        raise ValueError(f"boxes are counted in an image of at least 32 by 32 cells, got {tuple(boundary.shape)}")
    if int(boundary.sum()) < SMALLEST_BOUNDARY:
        raise ValueError(
            f"a boundary of {int(boundary.sum())} cells has no dimension: move the axes, or add resolution"
        )
    cells = boundary.double()[None, None]
    counts = {}
    side = 1
    while side <= min(boundary.shape) // 8:
        counts[side] = int(max_pool2d(cells, side, ceil_mode=True).sum())
        side *= 2
    x = -torch.tensor(list(counts), dtype=torch.float64).log()
    y = torch.tensor(list(counts.values()), dtype=torch.float64).log()
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    error = float((residual @ residual / (len(x) - 2) / (x @ x)).sqrt())
    return BoxDimension(slope, error, counts)


def count_neighbours(boundary: Tensor, side: int) -> Tensor:
    """Return how many cells of a set lie in the square of an odd side around every cell."""
    sums = avg_pool2d(boundary.double()[None, None], side, 1, side // 2)
    return (sums[0, 0] * side**2).round()
