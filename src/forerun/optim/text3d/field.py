"""A voxel radiance field and its pictures: emission and absorption along rays, many fields in one call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.camera import SCENE_RADIUS, Cameras

RAY_SAMPLES = 40  # of a ray
DENSITY_SCALE = 20.0  # of a softplus of one, in absorptions a unit of length
EMPTY_DENSITY = -4.0  # the raw density outside of the blob that a field begins as


def blob_field(side: int, *, seed: int = 0) -> Tensor:
    """A first field `(4, side, side, side)`: a soft grey ball, a little uneven.

    Channel 0 is the raw density, 1 to 3 the raw colours; the axes are z, y, x (`grid_sample`'s order).
    """
    across = (torch.arange(side) + 0.5) * 2 / side - 1
    z, y, x = torch.meshgrid(across, across, across, indexing="ij")
    distance = (x * x + y * y + z * z).sqrt()
    uneven = 0.1 * torch.randn(4, side, side, side, generator=torch.Generator().manual_seed(seed))
    field = uneven
    field[0] += EMPTY_DENSITY + 3.0 * (1 - distance / 0.8).clamp(min=-0.5)
    return field


def density_from_raw(raw: Tensor) -> Tensor:
    """Absorptions a unit of length."""
    return DENSITY_SCALE * functional.softplus(raw)


def resize_field(field: Tensor, side: int) -> Tensor:
    """The same field on a grid of another size, `(4, side, side, side)`."""
    return functional.interpolate(field[None], (side,) * 3, mode="trilinear", align_corners=False)[0]


def render_fields(fields: Tensor, cameras: Cameras, side: int, *, samples: int = RAY_SAMPLES) -> Tensor:
    """What V cameras a field see, `(W, V, 3, side, side)` in [0, 1].

    Every ray is cut into equal pieces within the ball of radius `SCENE_RADIUS`; each adds its colour, dimmed by what
    stands before it (Max 1995; Mildenhall et al. 2020, equation 3).

    Args:
        fields: `(W, 4, D, D, D)`.
        cameras: `W * V` of them, those of the first field first.
        side: pixels.
        samples: pieces of a ray.
    """
    colour, left = march_rays(fields, cameras, side, samples=samples)
    behind = cameras.background.reshape(len(fields), -1, 1, 1, 1)
    return colour + left[:, :, None] * behind


def march_rays(fields: Tensor, cameras: Cameras, side: int, *, samples: int = RAY_SAMPLES) -> tuple[Tensor, Tensor]:
    """Colour `(W, V, 3, side, side)` and what light is left behind `(W, V, side, side)`."""
    count, views = len(fields), len(cameras) // len(fields)
    points, length = _pieces(cameras, side, samples)
    raw = functional.grid_sample(
        fields, points.reshape(count, views * side * side, samples, 1, 3), align_corners=False, padding_mode="border"
    )
    raw = raw.reshape(count, 4, views, side, side, samples)
    absorbed = density_from_raw(raw[:, 0]) * length.reshape(count, views, side, side, 1)
    before = absorbed.cumsum(-1) - absorbed
    share = (-before).exp() * (1 - (-absorbed).exp())
    colour = (raw[:, 1:].sigmoid() * share[:, None]).sum(-1)
    return colour.transpose(1, 2), (-absorbed.sum(-1)).exp()


def _pieces(cameras: Cameras, side: int, samples: int) -> tuple[Tensor, Tensor]:
    """Points `(N, side, side, samples, 3)` in the middle of the pieces, and their length `(N, side, side)`."""
    rays, places = cameras.rays(side), cameras.positions[:, None, None]
    nearest = -(rays * places).sum(-1)
    half = (SCENE_RADIUS**2 - (places.square().sum(-1) - nearest.square())).clamp(min=0).sqrt()
    length = 2 * half / samples
    along = (nearest - half)[..., None] + length[..., None] * (torch.arange(samples) + 0.5)
    return places[..., None, :] + along[..., None] * rays[..., None, :], length
