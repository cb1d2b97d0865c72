"""Draws scenes: solids marched by parallel rays, softly lit, with a shadow on a light wall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from forerun.worlds.scenes.captions import SHAPE_WORDS, Scene, SceneObject
from forerun.worlds.scenes.distances import SCENE_DISTANCES, SceneDistance

PICTURE_SIDE = 64
PATCH_SIDE = 36  # pixels on a side of the square that one object is drawn in
SUPERSAMPLING = 2
CAMERA_PITCH = math.radians(28)  # the camera looks down by this much
LIGHT_DIRECTION = (-0.48, 0.72, 0.50)
MARCHING_STEPS = 20
SURFACE_DISTANCE = 0.02  # a ray that ends nearer to the solid has met it
OBJECTS_AT_ONCE = 16  # bounds the memory of drawing
SHADOW_OFFSET = 3  # pixels, downwards and to the right
SHADOW_STRENGTH = 0.30
BASE_YAW, YAW_SPREAD = math.radians(40), math.radians(22)
SCENE_COLOURS = {
    "red": (0.86, 0.13, 0.12),
    "green": (0.13, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "orange": (0.97, 0.50, 0.06),
    "purple": (0.52, 0.15, 0.68),
    "cyan": (0.12, 0.78, 0.80),
    "grey": (0.45, 0.45, 0.46),
}
RADII = {"small": 8.0, "": 11.0, "large": 14.5}  # in pixels

Coordinates = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class _ObjectPoses:
    """Where the objects of all scenes stand, and how they look; one row an object."""

    scene: Tensor  # int64 (K,), position of its scene
    shape: Tensor  # int64 (K,), position in SHAPE_WORDS
    colour: Tensor  # (K, 3)
    radius: Tensor  # (K,), pixels
    centre: Tensor  # (K, 2), pixels: rightwards, downwards
    yaw: Tensor  # (K,), radians

    def __getitem__(self, rows: Tensor) -> _ObjectPoses:
        return _ObjectPoses(
            self.scene[rows],
            self.shape[rows],
            self.colour[rows],
            self.radius[rows],
            self.centre[rows],
            self.yaw[rows],
        )


def render_scenes(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Return pictures of scenes, uint8 `(N, 3, 64, 64)`; the same seed gives the same pictures.

    Positions, sizes, angles and brightness vary a little; "beside" puts either object on the left.
    """
    generator = torch.Generator().manual_seed(seed)
    poses = _pose_objects(scenes, generator)
    patches = torch.zeros(len(poses.scene), 4, PATCH_SIDE, PATCH_SIDE)
    corner = (poses.centre - PATCH_SIDE / 2).round()
    for index, shape in enumerate(SHAPE_WORDS):
        rows_of_shape = (poses.shape == index).nonzero().flatten()
        for rows in rows_of_shape.split(OBJECTS_AT_ONCE):
            offset = poses.centre[rows] - corner[rows]
            patches[rows] = _draw_patches(SCENE_DISTANCES[shape], poses[rows], offset)
    pictures = _compose_pictures(patches, corner.long(), poses.scene, len(scenes))
    return (pictures * 255).round().to(torch.uint8)


def _pose_objects(scenes: Sequence[Scene], generator: torch.Generator) -> _ObjectPoses:
    owners: list[int] = []
    all_objects: list[SceneObject] = []
    centres: list[tuple[float, float]] = []
    for index, scene in enumerate(scenes):
        shifts = (2 * torch.rand(2, 2, generator=generator) - 1).tolist()
        objects = scene.objects
        if scene.relation == "beside" and torch.rand((), generator=generator) < 0.5:
            objects = objects[::-1]
        for place, scene_object in enumerate(objects):
            owners.append(index)
            all_objects.append(scene_object)
            centres.append(_place_centre(scene.layout, place, shifts))
    colours = torch.tensor([SCENE_COLOURS[scene_object.colour] for scene_object in all_objects])
    radii = torch.tensor([RADII[scene_object.size] for scene_object in all_objects])
    jitter = 2 * torch.rand(3, len(owners), generator=generator) - 1
    return _ObjectPoses(
        scene=torch.tensor(owners),
        shape=torch.tensor([scene_object.labels[1] for scene_object in all_objects]),
        colour=colours * (1 + 0.04 * jitter[0])[:, None],
        radius=radii * (1 + 0.04 * jitter[1]),
        centre=torch.tensor(centres),
        yaw=BASE_YAW + YAW_SPREAD * jitter[2],
    )


def _place_centre(
    layout: str,
    place: int,
    shifts: list[list[float]],
) -> tuple[float, float]:
    """Return the centre of the object at a place, in pixels.

    Args:
        layout: of the scene.
        place: 0 for the left or upper object, 1 for the other.
        shifts: the scene's numbers in [-1, 1]; one row shared by both objects, one with a number for each.
    """
    shared, individual = shifts
    if layout == "single":
        return 32 + 5 * shared[0], 32 + 5 * shared[1]
    along = 17.5 + 29 * place + 2 * individual[place]
    shift = shared[1] if place else -shared[1]
    across = 32 + 4 * shared[0] + shift
    if layout == "row":
        return along, across
    return across, along


def _draw_patches(
    distance: SceneDistance,
    poses: _ObjectPoses,
    offset: Tensor,
) -> Tensor:
    """Return colour times cover, and cover, of objects of one shape, `(K, 4, PATCH_SIDE, PATCH_SIDE)`.

    Args:
        distance: of the shape.
        poses: of the objects.
        offset: of their centres from the corners of the patches, `(K, 2)`.
    """
    yaw = poses.yaw[:, None, None]
    sine = yaw.sin()
    cosine = yaw.cos()
    start = _ray_starts(poses, offset, sine, cosine)
    ray = (-math.cos(CAMERA_PITCH) * sine, -math.sin(CAMERA_PITCH), -math.cos(CAMERA_PITCH) * cosine)
    points, remaining = _march_rays(distance, start, ray)
    cover = (remaining < SURFACE_DISTANCE).float()
    x, y, z = _surface_normal(distance, points)
    world_normal = torch.stack([x * cosine - z * sine, y, x * sine + z * cosine])
    lit = _shade_surface(world_normal, poses.colour) * cover[:, None]
    return functional.avg_pool2d(torch.cat([lit, cover[:, None]], 1), SUPERSAMPLING)


def _ray_starts(
    poses: _ObjectPoses,
    offset: Tensor,
    sine: Tensor,
    cosine: Tensor,
) -> Coordinates:
    """Return where the rays of all pixels start: two radii in front of the object, turned into its own frame."""
    grid = (torch.arange(PATCH_SIDE * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    right = ((grid - offset[:, :1]) / poses.radius[:, None])[:, None, :]
    up = ((offset[:, 1:] - grid) / poses.radius[:, None])[:, :, None]
    height = up * math.cos(CAMERA_PITCH) + 2 * math.sin(CAMERA_PITCH)
    depth = 2 * math.cos(CAMERA_PITCH) - up * math.sin(CAMERA_PITCH)
    x = right * cosine + depth * sine
    y = height.expand(-1, -1, len(grid))
    z = depth * cosine - right * sine
    return x, y, z


def _march_rays(
    distance: SceneDistance,
    start: Coordinates,
    ray: tuple[Tensor, float, Tensor],
) -> tuple[Coordinates, Tensor]:
    """Return where parallel rays end, and how far from the solid that is (Hart 1996, sphere tracing)."""
    x, y, z = start
    remaining = distance(x, y, z)
    for _ in range(MARCHING_STEPS):
        x = x + remaining * ray[0]
        y = y + remaining * ray[1]
        z = z + remaining * ray[2]
        remaining = distance(x, y, z)
    return (x, y, z), remaining


def _surface_normal(distance: SceneDistance, points: Coordinates) -> Tensor:
    """Return the unit gradient by four differences at a tetrahedron's corners, `(3, K, H, W)`."""
    x, y, z = points
    total = torch.zeros(3, *x.shape)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        value = distance(x + 0.01 * corner[0], y + 0.01 * corner[1], z + 0.01 * corner[2])
        for axis, sign in enumerate(corner):
            total[axis] += sign * value
    return functional.normalize(total, dim=0)


def _shade_surface(normal: Tensor, colour: Tensor) -> Tensor:
    """Return the lit surface, `(K, 3, H, W)` in [0, 1]: soft light from the upper left and above, and a highlight."""
    light = functional.normalize(torch.tensor(LIGHT_DIRECTION), dim=0)
    view = torch.tensor([0.0, math.sin(CAMERA_PITCH), math.cos(CAMERA_PITCH)])
    half = functional.normalize(light + view, dim=0)
    diffuse = torch.einsum("c,ckhw->khw", light, normal).relu()
    highlight = torch.einsum("c,ckhw->khw", half, normal).relu() ** 40
    brightness = 0.36 + 0.08 * normal[1] + 0.66 * diffuse
    lit = colour[:, :, None, None] * brightness[:, None] + 0.28 * highlight[:, None]
    return lit.clamp(0, 1)


def _compose_pictures(
    patches: Tensor,
    corner: Tensor,
    scene: Tensor,
    count: int,
) -> Tensor:
    """Return the wall, then all shadows, then all objects, `(count, 3, PICTURE_SIDE, PICTURE_SIDE)` in [0, 1]."""
    margin = PATCH_SIDE
    canvas = torch.zeros(count, 4, PICTURE_SIDE + 2 * margin, PICTURE_SIDE + 2 * margin)
    corners = (corner + margin).tolist()
    for patch, (left, top), owner in zip(patches, corners, scene.tolist(), strict=True):
        canvas[owner, :, top : top + PATCH_SIDE, left : left + PATCH_SIDE] += patch
    inner = slice(margin, margin + PICTURE_SIDE)
    shadowed = slice(margin - SHADOW_OFFSET, margin - SHADOW_OFFSET + PICTURE_SIDE)
    wall = torch.linspace(0.95, 0.87, PICTURE_SIDE)[:, None] * torch.tensor([0.97, 0.98, 1.0])[:, None, None]
    shadow = canvas[:, 3:]
    for _ in range(2):
        shadow = functional.avg_pool2d(shadow, 5, stride=1, padding=2)
    colour = canvas[:, :3, inner, inner]
    cover = canvas[:, 3:, inner, inner].clamp(0, 1)
    background = wall * (1 - SHADOW_STRENGTH * shadow[:, :, shadowed, shadowed].clamp(0, 1))
    return (background * (1 - cover) + colour).clamp(0, 1)
