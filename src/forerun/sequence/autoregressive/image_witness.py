"""The witness of images: the user's own network where the ordinary loop would call it, another pixel in every image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forerun.engine.witness import Witness, describe_difference

DrawPixels = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def witness_pixels(
    network: nn.Module,
    images: Tensor,
    uniform: Tensor,
    *,
    draw: DrawPixels,
    witness: Witness,
) -> tuple[int, str | None]:
    """Return at how many pixels the user's network was asked, and how what it draws differs, if it does.

    One call answers for one pixel of every image: all pixels from it on are zero, as they are in the ordinary loop.
    """
    count, size = images.shape
    chosen = witness.choose_steps(size)
    inner_first = chosen[1:] + chosen[:1]  # of few images, those in the middle say most
    pixels = torch.tensor(inner_first, device=images.device)
    pixels = pixels.repeat(-(-count // len(pixels)))[:count]
    is_before = torch.arange(size, device=images.device) < pixels.unsqueeze(-1)
    parameters = network(torch.where(is_before, images, torch.zeros_like(images)))
    rows = torch.arange(count, device=images.device)
    own = draw(parameters[rows, pixels].unsqueeze(1), uniform[rows, pixels].unsqueeze(1))
    drawn = images[rows, pixels].unsqueeze(1)
    return min(count, len(chosen)), describe_difference(own, drawn, roundings=witness.roundings)
