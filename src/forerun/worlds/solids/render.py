"""Pictures of true solids from any camera: rays marched through signed distances, lit by two lights of the world."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.camera import CAMERA_DISTANCE, SCENE_RADIUS, Cameras
from forerun.worlds.solids.distances import SOLID_DISTANCES, SolidDistance, surface_normals
from forerun.worlds.solids.prompts import ColouredSolid

AMBIENT_LIGHT = 0.45
LIGHTS = (  # direction, strength
    ((-0.48, 0.72, 0.50), 0.50),
    ((0.70, 0.15, -0.70), 0.28),
)
MAX_MARCHES = 64
HIT_DISTANCE = 2e-3  # a ray that comes nearer to the solid has met it
NEAREST_DEPTH = CAMERA_DISTANCE - SCENE_RADIUS
FARTHEST_DEPTH = CAMERA_DISTANCE + SCENE_RADIUS


def render_solid(solid: ColouredSolid, cameras: Cameras, side: int) -> Tensor:
    """Return pictures of a true solid, `(N, 3, side, side)` in [0, 1]."""
    colours = torch.tensor(solid.rgb).expand(len(cameras), 3)
    shaded = shade_shape(solid.shape, cameras, side)
    return paint_pictures(shaded, colours, cameras.background)


def shade_shape(
    shape: str,
    cameras: Cameras,
    side: int,
    *,
    rays_across: int = 2,
) -> Tensor:
    """Return what of a picture does not depend on the colour: coverage, and coverage times brightness.

    Args:
        shape: a key of `SHAPE_NAMES`.
        cameras: N of them; their backgrounds do not matter.
        side: pixels.
        rays_across: rays of a pixel, along each side.

    Returns:
        `(N, 2, side, side)`.
    """
    distance = SOLID_DISTANCES[shape]
    fine_side = side * rays_across
    rays = cameras.rays(fine_side)
    start = cameras.positions[:, None, None].expand_as(rays)
    points, hit = _march_to_surface(distance, start.reshape(-1, 3), rays.reshape(-1, 3))
    shaded = torch.zeros(len(points), 2)
    shaded[hit, 0] = 1.0
    shaded[hit, 1] = _surface_brightness(surface_normals(distance, points[hit]))
    pictures = shaded.reshape(len(cameras), fine_side, fine_side, 2).permute(0, 3, 1, 2)
    return functional.avg_pool2d(pictures, rays_across)


def paint_pictures(shaded: Tensor, colours: Tensor, background: Tensor) -> Tensor:
    """Return pictures `(N, 3, side, side)` in [0, 1].

    Args:
        shaded: as `shade_shape` gives it, `(N, 2, side, side)`.
        colours: of the solids, `(N, 3)`.
        background: greys, `(N,)`.
    """
    coverage = shaded[:, :1]
    brightness = shaded[:, 1:]
    return brightness * colours[:, :, None, None] + (1 - coverage) * background[:, None, None, None]


def _march_to_surface(
    distance: SolidDistance,
    start: Tensor,
    rays: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return where rays end, `(R, 3)`, and which of them end on the surface, `(R,)`."""
    depth = torch.full((len(rays),), NEAREST_DEPTH)
    active = torch.arange(len(rays))
    hit = torch.zeros(len(rays), dtype=torch.bool)
    for _ in range(MAX_MARCHES):
        remaining = distance(start[active] + depth[active, None] * rays[active])
        depth[active] += remaining
        hit[active[remaining < HIT_DISTANCE]] = True
        active = active[(remaining >= HIT_DISTANCE) & (depth[active] < FARTHEST_DEPTH)]
        if not len(active):
            break
    return start + depth[:, None] * rays, hit


def _surface_brightness(normals: Tensor) -> Tensor:
    """Return the brightness of a surface with unit normals `(..., 3)`."""
    brightness = torch.full_like(normals[..., 0], AMBIENT_LIGHT)
    for direction, strength in LIGHTS:
        light = functional.normalize(normals.new_tensor(direction), dim=0)
        brightness += strength * (normals @ light).relu()
    return brightness
