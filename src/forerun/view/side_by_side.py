"""Samples side by side: in order, ahead, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from forerun.view.canvas import FRAME_COLOUR, INK_COLOUR, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 16  # samples that are drawn at most
DIFFERENCE_SCALE = 10  # by which the difference is enlarged
CELL = 0.62  # inches, like all below: the longer side of a sample
CELL_GAP = 0.14
LEFT_MARGIN = 1.4
RIGHT_MARGIN = 0.2
TOP_MARGIN = 0.78
BOTTOM_MARGIN = 0.4
MIN_WIDTH = 6.0


@dataclass(frozen=True)
class RowsLayout:
    """Where three rows of equal pictures stand, in inches.

    Attributes:
        cell_width: of a picture.
        cell_height: of a picture.
        columns: pictures in a row.
    """

    cell_width: float
    cell_height: float
    columns: int

    @classmethod
    def from_samples(cls, samples: Tensor) -> RowsLayout:
        """Return the layout for samples `(B, height, width)`."""
        height, width = samples.shape[1:]
        scale = CELL / max(height, width)
        return cls(scale * width, scale * height, len(samples[:MAX_COLUMNS]))

    @property
    def column_pitch(self) -> float:
        """The distance from a picture to the next."""
        return self.cell_width + CELL_GAP / 2

    @property
    def width(self) -> float:
        """The width of the figure."""
        return max(LEFT_MARGIN + self.columns * self.column_pitch + RIGHT_MARGIN, MIN_WIDTH)

    @property
    def height(self) -> float:
        """The height of the figure."""
        return TOP_MARGIN + 3 * (self.cell_height + CELL_GAP) + BOTTOM_MARGIN

    def row_bottom(self, row: int) -> float:
        """Return the lower edge of a row."""
        return self.height - TOP_MARGIN - (row + 1) * self.cell_height - row * CELL_GAP


def draw_side_by_side(sequential: Tensor, ahead: Tensor, *, title: str, subtitle: str = "") -> Figure:
    """Draw three rows of grey pictures: samples in order, samples ahead, and the difference enlarged ten times.

    Args:
        sequential: `(B, height, width)`, -1 is paper and 1 is ink; the first 16 are drawn.
        ahead: the same samples of another run.
        title: says what was sampled.
        subtitle: figures of the run, one line.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the shapes differ, or are not those of pictures.
    """
    _refuse_samples(sequential, ahead)
    difference = (ahead - sequential).abs()
    layout = RowsLayout.from_samples(sequential)
    figure = new_figure(layout.width, layout.height, layout=None)
    left = LEFT_MARGIN / layout.width
    below_top = 1 - 0.28 / layout.height
    figure.text(left, below_top, title, fontsize=12, fontweight="bold", color=INK_COLOUR, va="center")
    below_title = 1 - 0.52 / layout.height
    figure.text(left, below_title, subtitle, fontsize=9.5, color=INK_COLOUR, va="center")
    rows = (
        ("in order", sequential),
        ("ahead", ahead),
        (f"difference × {DIFFERENCE_SCALE}", DIFFERENCE_SCALE * difference - 1),
    )
    for row, (name, pictures) in enumerate(rows):
        _draw_row(figure, layout, layout.row_bottom(row), pictures)
        _label_row(figure, layout, layout.row_bottom(row), name)
    caption = f"paper is −1, ink is 1; largest difference {_largest(difference)}{_omission(len(sequential))}"
    figure.text(left, 0.2 / layout.height, caption, fontsize=8.5, color=INK_COLOUR, va="center")
    return figure


def _refuse_samples(sequential: Tensor, ahead: Tensor) -> None:
    if sequential.dim() != 3 or sequential.shape != ahead.shape or not sequential.numel():
        raise ValueError(
            f"samples of shapes {list(sequential.shape)} and {list(ahead.shape)} are not two equal sets of pictures; "
            "pass two of shape (B, height, width)"
        )


def _draw_row(figure: Figure, layout: RowsLayout, bottom: float, pictures: Tensor) -> None:
    for column, picture in enumerate(pictures[:MAX_COLUMNS]):
        left = LEFT_MARGIN + column * layout.column_pitch
        rectangle = (
            left / layout.width,
            bottom / layout.height,
            layout.cell_width / layout.width,
            layout.cell_height / layout.height,
        )
        axes = figure.add_axes(rectangle)
        axes.imshow(picture.float().cpu().numpy(), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(FRAME_COLOUR)


def _label_row(figure: Figure, layout: RowsLayout, bottom: float, name: str) -> None:
    right = (LEFT_MARGIN - 0.12) / layout.width
    middle = (bottom + layout.cell_height / 2) / layout.height
    figure.text(right, middle, name, fontsize=9.5, color=INK_COLOUR, ha="right", va="center")


def _omission(count: int) -> str:
    if count <= MAX_COLUMNS:
        return ""
    return f"; the first {MAX_COLUMNS} of {count} samples"


def _largest(difference: Tensor) -> str:
    if not bool(torch.isfinite(difference).all()):
        return "is not finite"
    return f"{float(difference.max()):.1e}"
