"""The shapes as signed distances: negative inside, and never more than the distance outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Distance = Callable[[Tensor], Tensor]
"""Of points `(..., 3)` with y upwards, inside the cube [-1, 1]^3; returns `(...)`."""


def _sphere(points: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(points, dim=-1) - 0.8
    return distance


def _cube(points: Tensor) -> Tensor:
    beyond = points.abs() - 0.53
    distance: Tensor = torch.linalg.vector_norm(beyond.relu(), dim=-1) + beyond.amax(-1).clamp(max=0) - 0.03
    return distance


def _cone(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    slant = torch.hypot(x, z) * 0.906 + (y - 0.85) * 0.423
    return torch.maximum(slant, -0.7 - y)


def _cylinder(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return torch.maximum(torch.hypot(x, z) - 0.52, y.abs() - 0.7)


def _torus(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return torch.hypot(torch.hypot(x, z) - 0.6, y) - 0.26


def _pyramid(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    slant = torch.maximum(x.abs(), z.abs()) * 0.894 + (y - 0.8) * 0.447
    return torch.maximum(slant, -0.6 - y)


def _snowman(points: Tensor) -> Tensor:
    balls = [(-0.42, 0.48), (0.22, 0.36), (0.66, 0.25)]
    return torch.stack([(points - points.new_tensor([0, y, 0])).norm(dim=-1) - size for y, size in balls]).amin(0)


def _mug(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    x = x + 0.2
    round_ = torch.hypot(x, z)
    wall = torch.maximum(round_ - 0.52, y.abs() - 0.62)
    hollow = torch.maximum(round_ - 0.40, -0.5 - y)
    handle = torch.hypot(torch.hypot(x - 0.56, y) - 0.36, z) - 0.12
    return torch.minimum(torch.maximum(wall, -hollow), torch.maximum(handle, 0.46 - round_))


SOLID_DISTANCES: Mapping[str, Distance] = {
    "sphere": _sphere,
    "cube": _cube,
    "cone": _cone,
    "cylinder": _cylinder,
    "torus": _torus,
    "pyramid": _pyramid,
    "snowman": _snowman,
    "mug": _mug,
}


def surface_normals(distance: Distance, points: Tensor, *, apart: float = 2e-3) -> Tensor:
    """Unit normals `(..., 3)` of the surface at points `(..., 3)`, from four distances around each."""
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    around = distance(points.unsqueeze(-2) + apart * corners)
    return torch.nn.functional.normalize((around.unsqueeze(-1) * corners).sum(-2), dim=-1)
