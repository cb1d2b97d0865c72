"""Samples side by side: in order, ahead, and what lies between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from forerun.view.canvas import FRAME, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 16  # samples that are drawn at most
TIMES = 10  # by which the difference is enlarged
CELL, GAP, LEFT, RIGHT, TOP, BOTTOM = 0.62, 0.14, 1.4, 0.2, 0.78, 0.4  # inches


def side_by_side(sequential: Tensor, ahead: Tensor, *, title: str, subtitle: str = "") -> Figure:
    """Three rows of grey pictures: the samples in order, the samples ahead, and the difference enlarged ten times.

    Args:
        sequential: `(B, height, width)`, -1 is paper and 1 is ink; the first 16 are drawn.
        ahead: the same samples of another run.
        title: says what was sampled.
        subtitle: figures of the run, one line.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the shapes differ, or are not those of pictures.
    """
    if sequential.dim() != 3 or sequential.shape != ahead.shape or not sequential.numel():
        raise ValueError(
            f"samples of shapes {list(sequential.shape)} and {list(ahead.shape)} are not two equal sets of pictures; "
            "pass two of shape (B, height, width)"
        )
    difference = (ahead - sequential).abs()
    shown, high, wide = len(sequential[:COLUMNS]), *sequential.shape[1:]
    row, column = CELL * high / max(high, wide), CELL * wide / max(high, wide)
    width = max(LEFT + shown * (column + GAP / 2) + RIGHT, 6.0)
    height = TOP + 3 * (row + GAP) + BOTTOM
    figure = new_figure(width, height, layout=None)
    figure.text(LEFT / width, 1 - 0.28 / height, title, fontsize=12, fontweight="bold", color=INK, va="center")
    figure.text(LEFT / width, 1 - 0.52 / height, subtitle, fontsize=9.5, color=INK, va="center")
    rows = (("in order", sequential), ("ahead", ahead), (f"difference × {TIMES}", TIMES * difference - 1))
    for index, (name, pictures) in enumerate(rows):
        bottom = height - TOP - (index + 1) * row - index * GAP
        for place, picture in enumerate(pictures[:COLUMNS]):
            left = LEFT + place * (column + GAP / 2)
            axes = figure.add_axes((left / width, bottom / height, column / width, row / height))
            axes.imshow(picture.float().cpu().numpy(), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color(FRAME)
        figure.text(
            (LEFT - 0.12) / width, (bottom + row / 2) / height, name, fontsize=9.5, color=INK, ha="right", va="center"
        )
    left_out = f"; the first {shown} of {len(sequential)} samples" if shown < len(sequential) else ""
    caption = f"paper is −1, ink is 1; largest difference {_size(difference)}{left_out}"
    figure.text(LEFT / width, 0.2 / height, caption, fontsize=8.5, color=INK, va="center")
    return figure


def _size(difference: Tensor) -> str:
    return f"{float(difference.max()):.1e}" if bool(torch.isfinite(difference).all()) else "is not finite"
