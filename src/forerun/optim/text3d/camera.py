"""Cameras that look at the origin from a sphere around it, and their rays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

CAMERA_DISTANCE = 3.2  # from the origin
SCENE_RADIUS = 1.2  # radius of the ball that things lie in, and that a picture shows
HALF_VIEW = math.tan(math.radians(20.5))  # tangent of half the field of view
MIN_ELEVATION = math.radians(-10)  # the elevations that the prior was trained on
MAX_ELEVATION = math.radians(60)
HARMONICS = (1, 2, 4)  # of the azimuth: mugs, lights and the corners of a cube turn once, twice, four times
CAMERA_FEATURES = 9  # numbers that describe a camera to the prior


@final
@dataclass(frozen=True)
class Cameras:
    """Some cameras; every tensor has the shape `(N,)`.

    Args:
        azimuth: radians around the vertical axis.
        elevation: radians above the horizon.
        background: the grey behind the thing, 0 (black) to 1 (white).
    """

    azimuth: Tensor
    elevation: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, rows: slice | Tensor) -> Cameras:
        return Cameras(
            azimuth=self.azimuth[rows],
            elevation=self.elevation[rows],
            background=self.background[rows],
        )

    @property
    def features(self) -> Tensor:
        """The description of the cameras for the prior, `(N, CAMERA_FEATURES)`.

        The last harmonic follows elevation and background, where the weights of the prior expect it.
        """
        turns = []
        for harmonic in HARMONICS:
            turns.append((harmonic * self.azimuth).sin())
            turns.append((harmonic * self.azimuth).cos())
        columns = [
            *turns[:4],
            self.elevation.sin(),
            self.elevation.cos(),
            self.background,
            *turns[4:],
        ]
        return torch.stack(columns, -1)

    @property
    def positions(self) -> Tensor:
        """The positions of the cameras, `(N, 3)`."""
        across = self.elevation.cos()
        x = across * self.azimuth.sin()
        y = self.elevation.sin()
        z = across * self.azimuth.cos()
        return CAMERA_DISTANCE * torch.stack([x, y, z], -1)

    def rays(self, side: int) -> Tensor:
        """Return unit directions through the pixels of a square picture, `(N, side, side, 3)`, rows from above."""
        back = torch.nn.functional.normalize(self.positions, dim=-1)
        level = torch.zeros_like(self.azimuth)
        right = torch.stack([self.azimuth.cos(), level, -self.azimuth.sin()], -1)
        up = torch.linalg.cross(back, right)

        pixels = torch.arange(side, device=back.device) + 0.5
        offsets = HALF_VIEW * (pixels * 2 / side - 1)
        x = offsets[None, None, :, None]
        y = -offsets[None, :, None, None]

        right, up, back = (axis[:, None, None] for axis in (right, up, back))
        directions = x * right + y * up - back
        return torch.nn.functional.normalize(directions, dim=-1)


def join_cameras(groups: Sequence[Cameras]) -> Cameras:
    """Return the cameras of several groups, one group after the other."""
    return Cameras(
        azimuth=torch.cat([cameras.azimuth for cameras in groups]),
        elevation=torch.cat([cameras.elevation for cameras in groups]),
        background=torch.cat([cameras.background for cameras in groups]),
    )


def cameras_around(
    count: int,
    *,
    elevation: float = math.radians(25),
    background: float = 1.0,
) -> Cameras:
    """Return `count` cameras at equal angles around the thing."""
    azimuth = torch.arange(count) * (2 * math.pi / count)
    return Cameras(
        azimuth=azimuth,
        elevation=torch.full((count,), elevation),
        background=torch.full((count,), background),
    )


def held_out_cameras() -> Cameras:
    """Return sixteen cameras to measure by: around at two heights, before white and before black in turn."""
    index = torch.arange(16)
    azimuth = (index % 8 + 0.5) * (2 * math.pi / 8)
    elevation = torch.where(index < 8, math.radians(10), math.radians(40))
    return Cameras(azimuth, elevation, (index % 2).float())


def random_cameras(count: int, generator: torch.Generator | None = None) -> Cameras:
    """Return cameras drawn as for the training of the prior: before black or white, elevations uniform."""
    return spread_cameras(count, 1, generator)


def spread_cameras(
    count: int,
    group_size: int,
    generator: torch.Generator | None = None,
) -> Cameras:
    """Return `count` random cameras, of which every `group_size` in a row look from all sides, at equal angles."""
    turn, height, colour = torch.rand(3, count, generator=generator)
    index = torch.arange(count)
    first_turn = turn[index // group_size * group_size]
    turn = first_turn + index % group_size / group_size
    return Cameras(
        azimuth=2 * math.pi * turn,
        elevation=MIN_ELEVATION + (MAX_ELEVATION - MIN_ELEVATION) * height,
        background=(colour < 0.5).float(),
    )
