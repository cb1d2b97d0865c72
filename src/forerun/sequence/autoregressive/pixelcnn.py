"""PixelCNN++ in small: a stack that sees the rows above, and one that also sees what is left in the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.autoregressive.logistic import PIXEL_PARAMETERS

SIDE_PADDING = {1: (0, 0), 2: (1, 0), 3: (1, 1)}  # columns left and right, by the width of a kernel
INPUT_CHANNELS = 4  # the image, ones, and two coordinates


@final
class RowPass:
    """Which rows of an image a pass computes, and the row above them in every layer.

    Every layer looks one row up at most. So a pass over the rows from `first` on is the whole pass, where it knows what
    each layer had in row `first - 1`: the cache of Ramachandran et al. (arXiv 1704.06001), a row at a time.

    Args:
        first: row of the image.
        above: what `rows_above(first)` of an earlier pass returned; None at the top of the image.
    """

    def __init__(
        self,
        first: int = 0,
        above: Sequence[Tensor] | None = None,
    ) -> None:
        self.first = first
        self._above = above
        self._layer_inputs: list[Tensor] = []

    def add_row_above(self, x: Tensor) -> Tensor:
        """Return `x` `(N, C, rows, W)` with one row more above; called by each layer in turn."""
        if self._above is None:
            above = torch.zeros_like(x[:, :, :1])
        else:
            above = self._above[len(self._layer_inputs)]
        layer_input = torch.cat([above, x], 2)
        self._layer_inputs.append(layer_input)
        return layer_input

    def rows_above(self, row: int) -> list[Tensor]:
        """Return what a pass from `row` on needs of this one, one tensor `(N, C, 1, W)` a layer."""
        place = row - self.first
        return [layer_input[:, :, place : place + 1] for layer_input in self._layer_inputs]


@final
class PixelCNN(nn.Module):
    """Two streams of gated residual blocks, without the change of resolution of PixelCNN++ (arXiv 1701.05517).

    Calls take images `(N, side * side)`, row by row, and return the parameters of every pixel given those before it,
    `(N, side * side, 9)`.

    Args:
        side: of the square images.
        width: channels of a stream.
        depth: blocks of a stream.
    """

    def __init__(self, side: int = 8, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.config = {"side": side, "width": width, "depth": depth}
        self.side = side
        self.above = _CausalConvolution(INPUT_CHANNELS, width, (2, 3))
        self.beside_above = _CausalConvolution(INPUT_CHANNELS, width, (1, 3))
        self.beside_left = _CausalConvolution(INPUT_CHANNELS, width, (2, 1))
        self.vertical = nn.ModuleList()
        for _ in range(depth):
            self.vertical.append(_GatedBlock(width, (2, 3)))
        self.horizontal = nn.ModuleList()
        for _ in range(depth):
            self.horizontal.append(_GatedBlock(width, (2, 2), beside=True))
        self.outward = nn.Conv2d(2 * width, PIXEL_PARAMETERS, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.compute_rows(images, RowPass())

    def compute_rows(self, images: Tensor, row_pass: RowPass) -> Tensor:
        """Return the parameters of the pixels from row `row_pass.first` on.

        Args:
            images: `(N, pixels)`, whole rows; the last rows may be left out.
            row_pass: where to begin, and the row above.
        """
        self._check_images(images)
        x = self._add_coordinates(images)[:, :, row_pass.first :]
        vertical = _shift_down(self.above(x, row_pass), row_pass)
        above = _shift_down(self.beside_above(x, row_pass), row_pass)
        left = _shift_right(self.beside_left(x, row_pass))
        horizontal = above + left
        blocks = zip(self.vertical, self.horizontal, strict=True)
        for vertical_block, horizontal_block in blocks:
            vertical = vertical_block(vertical, row_pass)
            horizontal = horizontal_block(horizontal, row_pass, vertical)
        parameters: Tensor = self.outward(_concatenate_elu(horizontal))
        return parameters.flatten(2).transpose(1, 2)

    def _check_images(self, images: Tensor) -> None:
        pixels = images.shape[-1]
        has_whole_rows = pixels % self.side == 0
        if images.dim() != 2 or not has_whole_rows or pixels > self.side**2:
            raise ValueError(
                f"images came as {list(images.shape)} for a PixelCNN of {self.side} x {self.side} pixels; pass "
                f"(N, {self.side**2}), or make PixelCNN(side=...)"
            )

    def _add_coordinates(self, images: Tensor) -> Tensor:
        """Return the image, ones that tell it from the padding, and where a pixel lies: `(N, 4, rows, side)`."""
        rows = images.unflatten(-1, (-1, self.side))
        place = torch.linspace(
            -1,
            1,
            self.side,
            dtype=rows.dtype,
            device=rows.device,
        )
        ones = torch.ones_like(rows)
        across = ones * place
        down = ones * place[: rows.shape[1]].unsqueeze(-1)
        return torch.stack([rows, ones, across, down], 1)


class _CausalConvolution(nn.Module):
    """A convolution that looks up and left (kernel `(2, 2)`), up and to both sides (`(2, 3)`, `(1, 3)`) or up."""

    def __init__(
        self,
        inward: int,
        outward: int,
        kernel: tuple[int, int],
    ) -> None:
        super().__init__()
        height, width = kernel
        self.conv = nn.Conv2d(inward, outward, kernel)
        self.padding = (*SIDE_PADDING[width], 0, 0)
        self.looks_up = height == 2

    def forward(self, x: Tensor, row_pass: RowPass) -> Tensor:
        if self.looks_up:
            x = row_pass.add_row_above(x)
        convolved: Tensor = self.conv(nn.functional.pad(x, self.padding))
        return convolved


class _GatedBlock(nn.Module):
    """`x + a sigmoid(b)`, with `a, b` from two convolutions, and from the other stream where there is one."""

    def __init__(
        self,
        width: int,
        kernel: tuple[int, int],
        *,
        beside: bool = False,
    ) -> None:
        super().__init__()
        self.first = _CausalConvolution(2 * width, width, kernel)
        self.second = _CausalConvolution(2 * width, 2 * width, kernel)
        self.other = None
        if beside:
            self.other = nn.Conv2d(2 * width, width, 1)

    def forward(
        self,
        x: Tensor,
        row_pass: RowPass,
        other: Tensor | None = None,
    ) -> Tensor:
        inner = self.first(_concatenate_elu(x), row_pass)
        if self.other is not None and other is not None:
            inner = inner + self.other(_concatenate_elu(other))
        doubled = self.second(_concatenate_elu(inner), row_pass)
        value, gate = doubled.chunk(2, 1)
        gated: Tensor = x + value * torch.sigmoid(gate)
        return gated


def _concatenate_elu(x: Tensor) -> Tensor:
    """Return `elu` of a tensor and of its negative, side by side in the channels."""
    return nn.functional.elu(torch.cat([x, -x], 1))


def _shift_down(x: Tensor, row_pass: RowPass) -> Tensor:
    """Return `x` shifted down by a row, so that a row no longer sees itself."""
    return row_pass.add_row_above(x)[:, :, :-1]


def _shift_right(x: Tensor) -> Tensor:
    """Return `x` shifted right by a column, so that a pixel no longer sees itself."""
    return nn.functional.pad(x, (1, 0))[..., :-1]
