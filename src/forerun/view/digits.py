"""The picture of sampled digits: in order, ahead, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAGNIFY = 10.0  # of the difference


def side_by_side(sequential: Tensor, ahead: Tensor, title: str) -> Figure:
    """Rows of digits: the sequential run's, the run's ahead, and ten times their difference.

    Args:
        sequential: `(N, 64)`, pixels in [-1, 1].
        ahead: `(N, 64)`.
        title: stands above.
    """
    from matplotlib.figure import Figure

    count = len(sequential)
    figure = Figure(figsize=(0.7 * count + 1.6, 3.0), layout="constrained")
    figure.suptitle(title)
    rows = {
        "in order": sequential,
        "ahead": ahead,
        f"{MAGNIFY:.0f} x difference": MAGNIFY * (ahead - sequential),
    }
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for place, image in zip(line, images, strict=True):
            colours = "gray_r" if images is not rows[f"{MAGNIFY:.0f} x difference"] else "RdBu"
            place.imshow(image.reshape(8, 8).cpu().numpy(), cmap=colours, vmin=-1, vmax=1)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure
