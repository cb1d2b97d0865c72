"""The shapes of the scenes as signed distances: negative inside, and never more than the distance outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SceneDistance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The distance of points with coordinates `x`, `y` (upwards) and `z` (towards the camera), all of one shape."""


def _sphere_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - 0.86


def _cube_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a = x.abs() - 0.58
    b = y.abs() - 0.58
    c = z.abs() - 0.58
    outside = (a.relu().square() + b.relu().square() + c.relu().square()).sqrt()
    inside = torch.maximum(torch.maximum(a, b), c).clamp(max=0)
    return outside + inside - 0.04


def _cone_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # a lower bound of the distance, which marching needs no more than
    slant = (x * x + z * z).sqrt() * 0.890 + (y - 0.88) * 0.456
    return torch.maximum(slant, -0.68 - y)


def _cylinder_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.maximum((x * x + z * z).sqrt() - 0.56, y.abs() - 0.70)


def _torus_distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # its axis leans towards the camera, so that the hole is seen
    upright = 0.64 * y + 0.77 * z
    deep = 0.77 * y - 0.64 * z
    from_ring = (x * x + deep * deep).sqrt() - 0.64
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
