"""The shapes as signed distances: negative inside, and never more than the distance outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SolidDistance = Callable[[Tensor], Tensor]
"""The distance of points `(..., 3)` with y upwards, inside the cube [-1, 1]^3; returns `(...)`."""


def _sphere_distance(points: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(points, dim=-1) - 0.8
    return distance


def _cube_distance(points: Tensor) -> Tensor:
    excess = points.abs() - 0.53
    outside = torch.linalg.vector_norm(excess.relu(), dim=-1)
    inside = excess.amax(-1).clamp(max=0)
    distance: Tensor = outside + inside - 0.03
    return distance


def _cone_distance(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    slant = torch.hypot(x, z) * 0.906 + (y - 0.85) * 0.423
    return torch.maximum(slant, -0.7 - y)


def _cylinder_distance(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return torch.maximum(torch.hypot(x, z) - 0.52, y.abs() - 0.7)


def _torus_distance(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return torch.hypot(torch.hypot(x, z) - 0.6, y) - 0.26


def _pyramid_distance(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    slant = torch.maximum(x.abs(), z.abs()) * 0.894 + (y - 0.8) * 0.447
    return torch.maximum(slant, -0.6 - y)


def _snowman_distance(points: Tensor) -> Tensor:
    distances = []
    for height, radius in ((-0.42, 0.48), (0.22, 0.36), (0.66, 0.25)):
        centre = points.new_tensor([0, height, 0])
        distances.append((points - centre).norm(dim=-1) - radius)
    return torch.stack(distances).amin(0)


def _mug_distance(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    x = x + 0.2
    axis_distance = torch.hypot(x, z)
    wall = torch.maximum(axis_distance - 0.52, y.abs() - 0.62)
    hollow = torch.maximum(axis_distance - 0.40, -0.5 - y)
    handle = torch.hypot(torch.hypot(x - 0.56, y) - 0.36, z) - 0.12
    cup = torch.maximum(wall, -hollow)
    handle_outside = torch.maximum(handle, 0.46 - axis_distance)
    return torch.minimum(cup, handle_outside)


SOLID_DISTANCES: Mapping[str, SolidDistance] = {
    "sphere": _sphere_distance,
    "cube": _cube_distance,
    "cone": _cone_distance,
    "cylinder": _cylinder_distance,
    "torus": _torus_distance,
    "pyramid": _pyramid_distance,
    "snowman": _snowman_distance,
    "mug": _mug_distance,
}


def surface_normals(
    distance: SolidDistance,
    points: Tensor,
    *,
    spacing: float = 2e-3,
) -> Tensor:
    """Return unit normals `(..., 3)` of the surface at points `(..., 3)`, from four distances around each."""
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    distances = distance(points.unsqueeze(-2) + spacing * corners)
    gradient = (distances.unsqueeze(-1) * corners).sum(-2)
    return torch.nn.functional.normalize(gradient, dim=-1)
