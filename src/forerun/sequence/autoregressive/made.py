"""MADE: a perceptron whose masks let each output see only the inputs before it."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.autoregressive.logistic import PARAMETERS


@final
class Made(nn.Module):
    """Masked autoencoder for distribution estimation (Germain et al. 2015, arXiv 1502.03509).

    A hidden unit of degree `d` sees the inputs up to `d`, and an output `i` the units of a degree below `i`. Calls take
    images `(N, pixels)` and return the parameters of every pixel given those before it, `(N, pixels, 9)`.

    Args:
        pixels: of an image, in order.
        width: hidden units of a layer.
        depth: hidden layers.
    """

    def __init__(self, pixels: int = 64, width: int = 192, depth: int = 2) -> None:
        super().__init__()
        self.config = {"pixels": pixels, "width": width, "depth": depth}
        degrees = torch.arange(width) * (pixels - 1) // width
        known = [torch.arange(pixels), *[degrees] * depth]
        self.hidden = nn.ModuleList(_Masked(a <= b.unsqueeze(-1)) for a, b in pairwise(known))
        after = torch.arange(pixels).repeat_interleave(PARAMETERS)
        self.outward = _Masked(known[-1] < after.unsqueeze(-1))

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in self.hidden:
            hidden = nn.functional.silu(layer(hidden))
        parameters: Tensor = self.outward(hidden).unflatten(-1, (-1, PARAMETERS))
        return parameters


class _Masked(nn.Module):
    """A linear layer through a mask `(out, in)`."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.linear.weight * self.mask, self.linear.bias)
