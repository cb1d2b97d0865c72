"""Pictures of true things from any camera: rays marched through signed distances, lit by two lights of the world."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.camera import CAMERA_DISTANCE, SCENE_RADIUS, Cameras
from forerun.worlds.solids.distances import SOLID_DISTANCES, Distance, surface_normals
from forerun.worlds.solids.prompts import ColouredSolid

AMBIENT = 0.45
LIGHTS = (((-0.48, 0.72, 0.50), 0.50), ((0.70, 0.15, -0.70), 0.28))  # direction, strength
MARCHES = 64
NEAREST_DEPTH, FARTHEST_DEPTH = CAMERA_DISTANCE - SCENE_RADIUS, CAMERA_DISTANCE + SCENE_RADIUS


def shade_shape(shape: str, cameras: Cameras, side: int, *, fine: int = 2) -> Tensor:
    """What of a picture does not depend on the colour: coverage, and coverage times brightness; `(N, 2, side, side)`.

    Args:
        shape: a key of `SHAPE_NAMES`.
        cameras: N of them; their backgrounds do not matter.
        side: pixels.
        fine: rays a pixel, along each side.
    """
    distance = SOLID_DISTANCES[shape]
    rays = cameras.rays(side * fine)
    begin = cameras.positions[:, None, None].expand_as(rays)
    points, hit = _march(distance, begin.reshape(-1, 3), rays.reshape(-1, 3))
    found = torch.zeros(len(points), 2)
    found[hit, 0] = 1.0
    found[hit, 1] = _brightness(surface_normals(distance, points[hit]))
    pictures = found.reshape(len(cameras), side * fine, side * fine, 2).permute(0, 3, 1, 2)
    return functional.avg_pool2d(pictures, fine)


def paint_pictures(shaded: Tensor, colours: Tensor, background: Tensor) -> Tensor:
    """Pictures `(N, 3, side, side)` in [0, 1] from `shade`, colours `(N, 3)` and backgrounds `(N,)`."""
    covered, bright = shaded[:, :1], shaded[:, 1:]
    return bright * colours[:, :, None, None] + (1 - covered) * background[:, None, None, None]


def render_solid(thing: ColouredSolid, cameras: Cameras, side: int) -> Tensor:
    """Pictures of a true thing, `(N, 3, side, side)` in [0, 1]."""
    colours = torch.tensor(thing.rgb).expand(len(cameras), 3)
    return paint_pictures(shade_shape(thing.shape, cameras, side), colours, cameras.background)


def _march(distance: Distance, begin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays end, and which of them end on the surface."""
    along = torch.full((len(rays),), NEAREST_DEPTH)
    going = torch.arange(len(rays))
    hit = torch.zeros(len(rays), dtype=torch.bool)
    for _ in range(MARCHES):
        left = distance(begin[going] + along[going, None] * rays[going])
        along[going] += left
        hit[going[left < 2e-3]] = True
        going = going[(left >= 2e-3) & (along[going] < FARTHEST_DEPTH)]
        if not len(going):
            break
    return begin + along[:, None] * rays, hit


def _brightness(facing: Tensor) -> Tensor:
    lit = torch.full_like(facing[..., 0], AMBIENT)
    for direction, strength in LIGHTS:
        lit += strength * (facing @ functional.normalize(facing.new_tensor(direction), dim=0)).relu()
    return lit
