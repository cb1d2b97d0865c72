"""PixelCNN++ in small: a stack that sees the rows above, and one that also sees what is left in the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.autoregressive.logistic import PARAMETERS


@final
class Rows:
    """Which rows of an image a pass computes, and the row above them in every layer.

    Every layer looks one row up at most. So a pass over the rows from `first` on is the whole pass, if it is told what
    each layer had in row `first - 1`: the cache of Ramachandran et al. (arXiv 1704.06001), a row at a time.

    Args:
        first: row of the image.
        above: what `kept(first)` of an earlier pass returned; None at the top of the image.
    """

    def __init__(self, first: int = 0, above: Sequence[Tensor] | None = None) -> None:
        self.first = first
        self._above = above
        self._seen: list[Tensor] = []

    def topped(self, x: Tensor) -> Tensor:
        """`x` `(N, C, rows, W)` with one row more above; called by each layer in turn."""
        top = torch.zeros_like(x[:, :, :1]) if self._above is None else self._above[len(self._seen)]
        self._seen.append(torch.cat([top, x], 2))
        return self._seen[-1]

    def kept(self, row: int) -> list[Tensor]:
        """What a pass from `row` on needs of this one, one tensor `(N, C, 1, W)` a layer."""
        place = row - self.first
        return [seen[:, :, place : place + 1] for seen in self._seen]


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
        self.above = _Conv(4, width, (2, 3))
        self.beside_above, self.beside_left = _Conv(4, width, (1, 3)), _Conv(4, width, (2, 1))
        self.vertical = nn.ModuleList(_Gated(width, (2, 3)) for _ in range(depth))
        self.horizontal = nn.ModuleList(_Gated(width, (2, 2), beside=True) for _ in range(depth))
        self.outward = nn.Conv2d(2 * width, PARAMETERS, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.rows(images, Rows())

    def rows(self, images: Tensor, rows: Rows) -> Tensor:
        """The parameters of the pixels from row `rows.first` on; the last rows of the images may be left out."""
        if images.dim() != 2 or images.shape[1] % self.side or images.shape[1] > self.side**2:
            raise ValueError(
                f"images came as {list(images.shape)} for a PixelCNN of {self.side} x {self.side} pixels; pass "
                f"(N, {self.side**2}), or make PixelCNN(side=...)"
            )
        x = self._input(images.unflatten(-1, (-1, self.side)))[:, :, rows.first :]
        up = _down(self.above(x, rows), rows)
        left = _down(self.beside_above(x, rows), rows) + _right(self.beside_left(x, rows))
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            up = vertical(up, rows)
            left = horizontal(left, rows, up)
        parameters: Tensor = self.outward(_both(left))
        return parameters.flatten(2).transpose(1, 2)

    def _input(self, images: Tensor) -> Tensor:
        """The image, ones that tell it from the padding, and where a pixel lies: `(N, 4, rows, side)`."""
        place = torch.linspace(-1, 1, self.side, dtype=images.dtype, device=images.device)
        ones = torch.ones_like(images)
        return torch.stack([images, ones, ones * place, ones * place[: images.shape[1]].unsqueeze(-1)], 1)


class _Conv(nn.Module):
    """A convolution that looks up and left (kernel `(2, 2)`), up and to both sides (`(2, 3)`, `(1, 3)`) or up."""

    def __init__(self, inward: int, outward: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, outward, kernel)
        self.sides = {1: (0, 0), 2: (1, 0), 3: (1, 1)}[kernel[1]]
        self.tall = kernel[0] == 2

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        seen = rows.topped(x) if self.tall else x
        found: Tensor = self.conv(nn.functional.pad(seen, (*self.sides, 0, 0)))
        return found


class _Gated(nn.Module):
    """`x + a sigmoid(b)`, with `a, b` from two convolutions, and from the other stream where there is one."""

    def __init__(self, width: int, kernel: tuple[int, int], *, beside: bool = False) -> None:
        super().__init__()
        self.first = _Conv(2 * width, width, kernel)
        self.second = _Conv(2 * width, 2 * width, kernel)
        self.other = nn.Conv2d(2 * width, width, 1) if beside else None

    def forward(self, x: Tensor, rows: Rows, other: Tensor | None = None) -> Tensor:
        inner = self.first(_both(x), rows)
        if self.other is not None and other is not None:
            inner = inner + self.other(_both(other))
        value, gate = self.second(_both(inner), rows).chunk(2, 1)
        following: Tensor = x + value * torch.sigmoid(gate)
        return following


def _both(x: Tensor) -> Tensor:
    """`elu` of a tensor and of its negative, side by side in the channels."""
    return nn.functional.elu(torch.cat([x, -x], 1))


def _down(x: Tensor, rows: Rows) -> Tensor:
    """Shifted down by a row, so that a row no longer sees itself."""
    return rows.topped(x)[:, :, :-1]


def _right(x: Tensor) -> Tensor:
    """Shifted right by a column, so that a pixel no longer sees itself."""
    return nn.functional.pad(x, (1, 0))[..., :-1]
