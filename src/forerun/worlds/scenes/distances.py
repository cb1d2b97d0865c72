"""The shapes of the scenes as signed distances: negative inside, and never more than the distance outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SceneDistance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The distance of points with coordinates `x`, `y` (upwards) and `z` (towards the camera), all of one shape."""


def _radius(x: Tensor, z: Tensor) -> Tensor:
    """Return the distance from the axis through the origin."""
    return (x * x + z * z).sqrt()


def _sphere_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - 0.86


def _cube_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a = x.abs() - 0.58
    b = y.abs() - 0.58
    c = z.abs() - 0.58
    square = a.relu().square() + b.relu().square() + c.relu().square()
    inside = torch.maximum(torch.maximum(a, b), c).clamp(max=0)
    return square.sqrt() + inside - 0.04


def _cone_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # a lower bound of the distance, which marching needs no more than
    slant = _radius(x, z) * 0.890 + (y - 0.88) * 0.456
    return torch.maximum(slant, -0.68 - y)


def _cylinder_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    from_wall = _radius(x, z) - 0.56
    from_ends = y.abs() - 0.70
    return torch.maximum(from_wall, from_ends)


def _torus_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # its axis leans towards the camera, so that the hole is seen
    upright = 0.64 * y + 0.77 * z
    deep = 0.77 * y - 0.64 * z
    from_ring = _radius(x, deep) - 0.64
    return (from_ring.square() + upright * upright).sqrt() - 0.27


def _pyramid_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    slant = torch.maximum(x.abs(), z.abs()) * 0.919 + (y - 0.88) * 0.394
    return torch.maximum(slant, -0.68 - y)


SCENE_DISTANCES: Mapping[str, SceneDistance] = {
    "sphere": _sphere_distance,
    "cube": _cube_distance,
    "cone": _cone_distance,
    "cylinder": _cylinder_distance,
    "torus": _torus_distance,
    "pyramid": _pyramid_distance,
}
