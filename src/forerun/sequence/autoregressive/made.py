"""MADE: a perceptron whose masks let each output see only the inputs before it."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.autoregressive.logistic import PIXEL_PARAMETERS


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

    def __init__(
        self,
        pixels: int = 64,
        width: int = 192,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.config = {"pixels": pixels, "width": width, "depth": depth}
        input_degrees = torch.arange(pixels)
        hidden_degrees = torch.arange(width) * (pixels - 1) // width
        degrees = [input_degrees, *[hidden_degrees] * depth]
        self.hidden = nn.ModuleList()
        for before, after in pairwise(degrees):
            self.hidden.append(_MaskedLinear(before <= after.unsqueeze(-1)))
        output_degrees = input_degrees.repeat_interleave(PIXEL_PARAMETERS)
        self.outward = _MaskedLinear(degrees[-1] < output_degrees.unsqueeze(-1))

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in self.hidden:
            hidden = nn.functional.silu(layer(hidden))
        parameters: Tensor = self.outward(hidden).unflatten(-1, (-1, PIXEL_PARAMETERS))
        return parameters


class _MaskedLinear(nn.Module):
    """A linear layer through a mask `(out, in)`."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.linear.weight * self.mask
        return nn.functional.linear(x, weight, self.linear.bias)
