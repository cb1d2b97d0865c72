"""A probe of an image network: later pixels are changed, and earlier outputs must stay."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PROBE_PASSES = 2  # of changed images, each with as many places as there are images
PROBE_THRESHOLD = 1e-4  # of the largest output: how far an output may move by rounding


@torch.no_grad()
def check_network(network: nn.Module, uniform: Tensor) -> None:
    """Change all pixels from `i` on, another `i` in every image, and see whether the parameters up to `i` change.

    The network is called on as many images as there are, as it may hold something for each of them.

    Raises:
        ValueError: they do, or the output is not one of a row a pixel.
    """
    count, size = uniform.shape
    image, other = _draw_images(uniform)
    outputs = network(image)
    if outputs.shape[:2] != (count, size):
        raise ValueError(
            f"the network made {list(outputs.shape)} of images {[count, size]}; it must return (N, {size}, "
            "...), the parameters of every pixel"
        )
    threshold = PROBE_THRESHOLD * float(outputs.abs().max())
    pixels = torch.arange(size, device=uniform.device)
    all_places = torch.arange(PROBE_PASSES * count, device=uniform.device) * size // (PROBE_PASSES * count)
    for places in all_places.reshape(count, PROBE_PASSES).unbind(1):
        is_before = pixels < places.unsqueeze(-1)
        changed_outputs = network(torch.where(is_before, image, other))
        changes = (changed_outputs - outputs).abs()
        changes = changes.reshape(count, size, -1).amax(-1)
        must_stay = pixels <= places.unsqueeze(-1)
        _report_change(~(changes <= threshold) & must_stay, places)


def _report_change(is_wrong: Tensor, places: Tensor) -> None:
    """Raise where an output changed that must stay, `(images, pixels)`."""
    if not bool(is_wrong.any()):
        return
    row, pixel = is_wrong.nonzero()[0].tolist()
    raise ValueError(
        f"the network looks ahead: pixel {pixel} changed with the pixels from {int(places[row])} on, but may "
        f"follow from pixels 0 .. {pixel - 1} of its own image only; mask its layers, as forerun.sequence.Made does"
    )


def _draw_images(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return two random batches of images in [-1, 1)."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, *uniform.shape)
    noise = torch.rand(shape, generator=generator, dtype=uniform.dtype)
    image, other = noise * 2 - 1
    return image.to(uniform.device), other.to(uniform.device)
