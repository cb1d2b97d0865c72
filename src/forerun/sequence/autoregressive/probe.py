"""A probe of an image network: later pixels are changed, and earlier outputs must stay."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_PROBED_PIXELS = 32  # whose followers are changed
PROBE_THRESHOLD = 1e-4  # of the largest output: how far an output may move by rounding


@torch.no_grad()
def check_network(network: nn.Module, uniform: Tensor) -> None:
    """Change all pixels from `i` on, for some `i`, and see whether the parameters of a pixel up to `i` change.

    Raises:
        ValueError: they do, or the output is not one of a row a pixel.
    """
    size = uniform.shape[1]
    places = torch.linspace(0, size - 1, min(size, MAX_PROBED_PIXELS)).long()
    images = _changed_images(uniform, places)
    outputs = network(images)
    if outputs.shape[:2] != (len(images), size):
        raise ValueError(
            f"the network made {list(outputs.shape)} of images {[len(images), size]}; it must return (N, {size}, "
            "...), the parameters of every pixel"
        )
    changes = (outputs[1:] - outputs[:1]).abs()
    changes = changes.reshape(len(places), size, -1).amax(-1).cpu()  # (places, pixels)
    must_stay = torch.arange(size) <= places.unsqueeze(-1)
    threshold = PROBE_THRESHOLD * float(outputs.abs().max())
    is_wrong = ~(changes <= threshold) & must_stay
    if bool(is_wrong.any()):
        place, pixel = is_wrong.nonzero()[0].tolist()
        raise ValueError(
            f"the network looks ahead: pixel {pixel} changed with the pixels from {int(places[place])} on, but may "
            f"follow from pixels 0 .. {pixel - 1} only; mask its layers, as forerun.sequence.Made does"
        )


def _changed_images(uniform: Tensor, places: Tensor) -> Tensor:
    """Return a random image, and copies of it that are another image from each of the places on."""
    size = uniform.shape[1]
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(
        2,
        1,
        size,
        generator=generator,
        dtype=uniform.dtype,
    )
    image, other = noise * 2 - 1
    is_before = torch.arange(size) < places.unsqueeze(-1)
    changed = torch.where(is_before, image, other)
    return torch.cat([image, changed]).to(uniform.device)
