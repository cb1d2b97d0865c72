"""Draws scenes: solids as signed distances, marched by parallel rays, softly lit, with a shadow on a light wall."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from forerun.worlds.scenes.captions import SHAPE_WORDS, Scene

PICTURE_SIDE = 64
PATCH = 36  # pixels on a side of the square that one thing is drawn in
SUPERSAMPLING = 2
PITCH = math.radians(28)  # the camera looks down by this much
LIGHT = (-0.48, 0.72, 0.50)
RGB = {
    "red": (0.86, 0.13, 0.12),
    "green": (0.13, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "orange": (0.97, 0.50, 0.06),
    "purple": (0.52, 0.15, 0.68),
    "cyan": (0.12, 0.78, 0.80),
    "grey": (0.45, 0.45, 0.46),
}
RADIUS = {"small": 8.0, "": 11.0, "large": 14.5}  # in pixels

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def _sphere(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - 0.86


def _cube(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a, b, c = x.abs() - 0.58, y.abs() - 0.58, z.abs() - 0.58
    outside = (a.relu().square() + b.relu().square() + c.relu().square()).sqrt()
    return outside + torch.maximum(torch.maximum(a, b), c).clamp(max=0) - 0.04


def _cone(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # a lower bound of the distance, which marching needs no more than
    slant = (x * x + z * z).sqrt() * 0.890 + (y - 0.88) * 0.456
    return torch.maximum(slant, -0.68 - y)


def _cylinder(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.maximum((x * x + z * z).sqrt() - 0.56, y.abs() - 0.70)


def _torus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # its axis leans towards the camera, so that the hole is seen
    upright, deep = 0.64 * y + 0.77 * z, 0.77 * y - 0.64 * z
    return (((x * x + deep * deep).sqrt() - 0.64).square() + upright * upright).sqrt() - 0.27


def _pyramid(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    slant = torch.maximum(x.abs(), z.abs()) * 0.919 + (y - 0.88) * 0.394
    return torch.maximum(slant, -0.68 - y)


DISTANCES: Mapping[str, Distance] = {
    "sphere": _sphere,
    "cube": _cube,
    "cone": _cone,
    "cylinder": _cylinder,
    "torus": _torus,
    "pyramid": _pyramid,
}


@dataclass(frozen=True)
class _Poses:
    """Where `K` things stand, one row each."""

    scene: Tensor  # int64 (K,)
    shape: Tensor  # int64 (K,), position in SHAPE_WORDS
    colour: Tensor  # (K, 3)
    radius: Tensor  # (K,), pixels
    centre: Tensor  # (K, 2), pixels: rightwards, downwards
    yaw: Tensor  # (K,), radians


def render_scenes(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Pictures of scenes, uint8 `(N, 3, 64, 64)`; the same seed gives the same pictures.

    Positions, sizes, angles and brightness vary a little; "beside" puts either thing on the left.
    """
    generator = torch.Generator().manual_seed(seed)
    poses = _pose(scenes, generator)
    patches = torch.zeros(len(poses.scene), 4, PATCH, PATCH)
    corner = (poses.centre - PATCH / 2).round()
    for index, shape in enumerate(SHAPE_WORDS):
        for rows in (poses.shape == index).nonzero().flatten().split(16):
            offset = poses.centre[rows] - corner[rows]
            patches[rows] = _draw(DISTANCES[shape], _rows(poses, rows), offset)
    return (_compose(patches, corner.long(), poses.scene, len(scenes)) * 255).round().to(torch.uint8)


def _pose(scenes: Sequence[Scene], generator: torch.Generator) -> _Poses:
    owner, shape, colour, radius, centre = [], [], [], [], []
    for index, scene in enumerate(scenes):
        u = (2 * torch.rand(2, 2, generator=generator) - 1).tolist()
        things = scene.objects
        if scene.relation == "beside" and torch.rand((), generator=generator) < 0.5:
            things = things[::-1]
        for place, thing in enumerate(things):
            owner.append(index)
            shape.append(thing.labels[1])
            colour.append(RGB[thing.colour])
            radius.append(RADIUS[thing.size])
            centre.append(_centre(scene.layout, place, u))
    jitter = 2 * torch.rand(3, len(owner), generator=generator) - 1
    return _Poses(
        torch.tensor(owner),
        torch.tensor(shape),
        torch.tensor(colour) * (1 + 0.04 * jitter[0])[:, None],
        torch.tensor(radius) * (1 + 0.04 * jitter[1]),
        torch.tensor(centre),
        math.radians(40) + math.radians(22) * jitter[2],
    )


def _centre(layout: str, place: int, u: list[list[float]]) -> tuple[float, float]:
    """Of the thing at a place, from the scene's numbers in [-1, 1]: one row shared by both, one of their own."""
    if layout == "single":
        return 32 + 5 * u[0][0], 32 + 5 * u[0][1]
    along = 17.5 + 29 * place + 2 * u[1][place]
    across = 32 + 4 * u[0][0] + (u[0][1] if place else -u[0][1])
    return (along, across) if layout == "row" else (across, along)


def _rows(poses: _Poses, rows: Tensor) -> _Poses:
    return _Poses(*(getattr(poses, name)[rows] for name in poses.__dataclass_fields__))


def _draw(distance: Distance, poses: _Poses, offset: Tensor) -> Tensor:
    """Colour times cover, and cover, of one shape's things, `(K, 4, PATCH, PATCH)`; `offset` is their centres'."""
    grid = (torch.arange(PATCH * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    right = ((grid - offset[:, :1]) / poses.radius[:, None])[:, None, :]
    up = ((offset[:, 1:] - grid) / poses.radius[:, None])[:, :, None]
    turn = poses.yaw[:, None, None]
    sine, cosine = turn.sin(), turn.cos()
    # the ray starts two radii in front of the thing; both are turned into its own frame
    height, depth = up * math.cos(PITCH) + 2 * math.sin(PITCH), 2 * math.cos(PITCH) - up * math.sin(PITCH)
    x, y, z = right * cosine + depth * sine, height.expand(-1, -1, len(grid)), depth * cosine - right * sine
    ray = (-math.cos(PITCH) * sine, -math.sin(PITCH), -math.cos(PITCH) * cosine)
    x, y, z, near = _march(distance, (x, y, z), ray)
    cover = (near < 0.02).float()
    normal = _normal(distance, x, y, z)
    world = torch.stack([normal[0] * cosine - normal[2] * sine, normal[1], normal[0] * sine + normal[2] * cosine])
    lit = _shade(world, poses.colour) * cover[:, None]
    return functional.avg_pool2d(torch.cat([lit, cover[:, None]], 1), SUPERSAMPLING)


def _march(
    distance: Distance, start: tuple[Tensor, ...], ray: tuple[Tensor, float, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where parallel rays end, and how far from the solid that is (Hart 1996, sphere tracing)."""
    x, y, z = start
    near = distance(x, y, z)
    for _ in range(20):
        x, y, z = x + near * ray[0], y + near * ray[1], z + near * ray[2]
        near = distance(x, y, z)
    return x, y, z, near


def _normal(distance: Distance, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Unit gradient by four differences at a tetrahedron's corners, `(3, K, H, W)`."""
    total = torch.zeros(3, *x.shape)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        value = distance(x + 0.01 * corner[0], y + 0.01 * corner[1], z + 0.01 * corner[2])
        for axis, sign in enumerate(corner):
            total[axis] += sign * value
    return functional.normalize(total, dim=0)


def _shade(normal: Tensor, colour: Tensor) -> Tensor:
    """Soft diffuse light from the upper left, light from above, and a highlight; `(K, 3, H, W)` in [0, 1]."""
    light = functional.normalize(torch.tensor(LIGHT), dim=0)
    view = torch.tensor([0.0, math.sin(PITCH), math.cos(PITCH)])
    half = functional.normalize(light + view, dim=0)
    diffuse = torch.einsum("c,ckhw->khw", light, normal).relu()
    highlight = torch.einsum("c,ckhw->khw", half, normal).relu() ** 40
    brightness = 0.36 + 0.08 * normal[1] + 0.66 * diffuse
    return (colour[:, :, None, None] * brightness[:, None] + 0.28 * highlight[:, None]).clamp(0, 1)


def _compose(patches: Tensor, corner: Tensor, scene: Tensor, count: int) -> Tensor:
    """Wall, then all shadows, then all things, `(count, 3, PICTURE_SIDE, PICTURE_SIDE)` in [0, 1]."""
    margin = PATCH
    canvas = torch.zeros(count, 4, PICTURE_SIDE + 2 * margin, PICTURE_SIDE + 2 * margin)
    for patch, (left, top), owner in zip(patches, (corner + margin).tolist(), scene.tolist(), strict=True):
        canvas[owner, :, top : top + PATCH, left : left + PATCH] += patch
    inner = slice(margin, margin + PICTURE_SIDE)
    behind = slice(margin - 3, margin - 3 + PICTURE_SIDE)
    wall = torch.linspace(0.95, 0.87, PICTURE_SIDE)[:, None] * torch.tensor([0.97, 0.98, 1.0])[:, None, None]
    shadow = canvas[:, 3:]
    for _ in range(2):
        shadow = functional.avg_pool2d(shadow, 5, stride=1, padding=2)
    colour, cover = canvas[:, :3, inner, inner], canvas[:, 3:, inner, inner].clamp(0, 1)
    shaded = wall * (1 - 0.30 * shadow[:, :, behind, behind].clamp(0, 1))
    return (shaded * (1 - cover) + colour).clamp(0, 1)
