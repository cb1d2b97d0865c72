"""A voxel radiance field and its pictures: emission and absorption along rays, many fields in one call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.camera import SCENE_RADIUS, Cameras

RAY_SAMPLES = 40  # pieces of a ray
DENSITY_SCALE = 20.0  # of a softplus of one, in absorptions a unit of length
EMPTY_DENSITY = -4.0  # the raw density outside of the blob that a field begins as


def blob_field(side: int, *, seed: int = 0) -> Tensor:
    """Return a first field `(4, side, side, side)`: a soft grey ball, a little uneven.

    Channel 0 is the raw density, 1 to 3 the raw colours; the axes are z, y, x (`grid_sample`'s order).
    """
    centres = (torch.arange(side) + 0.5) * 2 / side - 1
    z, y, x = torch.meshgrid(centres, centres, centres, indexing="ij")
    radius = (x * x + y * y + z * z).sqrt()
    ball = (1 - radius / 0.8).clamp(min=-0.5)
    generator = torch.Generator().manual_seed(seed)
    field = 0.1 * torch.randn(4, side, side, side, generator=generator)
    field[0] += EMPTY_DENSITY + 3.0 * ball
    return field


def density_from_raw(raw: Tensor) -> Tensor:
    """Return absorptions a unit of length from raw densities."""
    return DENSITY_SCALE * functional.softplus(raw)


def resize_field(field: Tensor, side: int) -> Tensor:
    """Return the same field on a grid of another size, `(4, side, side, side)`."""
    resized = functional.interpolate(
        field[None],
        (side, side, side),
        mode="trilinear",
        align_corners=False,
    )
    return resized[0]


def render_fields(
    fields: Tensor,
    cameras: Cameras,
    side: int,
    *,
    samples: int = RAY_SAMPLES,
) -> Tensor:
    """Return the pictures that V cameras take of each field, `(W, V, 3, side, side)` in [0, 1].

    Every ray is cut into equal pieces within the ball of radius `SCENE_RADIUS`; each adds its colour, dimmed by what
    stands before it (Max 1995; Mildenhall et al. 2020, equation 3).

    Args:
        fields: `(W, 4, D, D, D)`.
        cameras: `W * V` of them, those of the first field first.
        side: pixels.
        samples: pieces of a ray.
    """
    colour, light = march_rays(fields, cameras, side, samples=samples)
    background = cameras.background.reshape(len(fields), -1, 1, 1, 1)
    return colour + light[:, :, None] * background


def march_rays(
    fields: Tensor,
    cameras: Cameras,
    side: int,
    *,
    samples: int = RAY_SAMPLES,
) -> tuple[Tensor, Tensor]:
    """Return the colour of rays `(W, V, 3, side, side)`, and the light that passes the field `(W, V, side, side)`."""
    count = len(fields)
    views = len(cameras) // count
    points, length = _cut_rays(cameras, side, samples)
    points = points.reshape(count, views * side * side, samples, 1, 3)
    length = length.reshape(count, views, side, side, 1)
    raw = functional.grid_sample(fields, points, align_corners=False, padding_mode="border")
    raw = raw.reshape(
        count,
        4,
        views,
        side,
        side,
        samples,
    )

    absorbed = density_from_raw(raw[:, 0]) * length
    absorbed_before = absorbed.cumsum(-1) - absorbed
    dimmed = (-absorbed_before).exp()
    share = dimmed * (1 - (-absorbed).exp())
    colours = raw[:, 1:].sigmoid() * share[:, None]
    colour = colours.sum(-1)
    light = (-absorbed.sum(-1)).exp()
    return colour.transpose(1, 2), light


def _cut_rays(
    cameras: Cameras,
    side: int,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Return points `(N, side, side, samples, 3)` in the middle of the pieces, and their length `(N, side, side)`."""
    rays = cameras.rays(side)
    origins = cameras.positions[:, None, None]
    nearest = -(rays * origins).sum(-1)  # where a ray is nearest to the centre of the ball
    squared_distance = origins.square().sum(-1) - nearest.square()
    half_chord = (SCENE_RADIUS**2 - squared_distance).clamp(min=0).sqrt()
    length = 2 * half_chord / samples

    entry = nearest - half_chord
    middles = torch.arange(samples) + 0.5
    along = entry[..., None] + length[..., None] * middles
    offsets = along[..., None] * rays[..., None, :]
    points = origins[..., None, :] + offsets
    return points, length
