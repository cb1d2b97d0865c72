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
HALF_VIEW = math.tan(math.radians(20.5))  # of the field of view
MIN_ELEVATION, MAX_ELEVATION = math.radians(-10), math.radians(60)  # elevations that the prior has seen
CAMERA_FEATURES = 9  # what the prior is told of a camera


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
        return Cameras(self.azimuth[rows], self.elevation[rows], self.background[rows])

    @property
    def features(self) -> Tensor:
        """What the prior is told, `(N, CAMERA_FEATURES)`: the azimuth, the elevation, the background.

        Of the azimuth three harmonics, as mugs, lights, and the corners of a cube turn once, twice, four times.
        """
        turns = [part for times in (1, 2, 4) for part in ((times * self.azimuth).sin(), (times * self.azimuth).cos())]
        return torch.stack([*turns[:4], self.elevation.sin(), self.elevation.cos(), self.background, *turns[4:]], -1)

    @property
    def positions(self) -> Tensor:
        """Where they stand, `(N, 3)`."""
        flat = self.elevation.cos()
        return CAMERA_DISTANCE * torch.stack(
            [flat * self.azimuth.sin(), self.elevation.sin(), flat * self.azimuth.cos()], -1
        )

    def rays(self, side: int) -> Tensor:
        """Unit directions through the pixels of a square picture, `(N, side, side, 3)`, rows from above."""
        back = torch.nn.functional.normalize(self.positions, dim=-1)
        right = torch.stack([self.azimuth.cos(), torch.zeros_like(self.azimuth), -self.azimuth.sin()], -1)
        up = torch.linalg.cross(back, right)
        across = HALF_VIEW * ((torch.arange(side, device=back.device) + 0.5) * 2 / side - 1)
        x, y = across[None, None, :, None], -across[None, :, None, None]
        through = x * right[:, None, None] + y * up[:, None, None] - back[:, None, None]
        return torch.nn.functional.normalize(through, dim=-1)


def join_cameras(cameras: Sequence[Cameras]) -> Cameras:
    """All of them, one set after the other."""
    parts = [(each.azimuth, each.elevation, each.background) for each in cameras]
    return Cameras(*(torch.cat(each) for each in zip(*parts, strict=True)))


def cameras_around(count: int, *, elevation: float = math.radians(25), background: float = 1.0) -> Cameras:
    """`count` cameras at equal angles around the thing."""
    azimuth = torch.arange(count) * (2 * math.pi / count)
    return Cameras(azimuth, torch.full((count,), elevation), torch.full((count,), background))


def held_out_cameras() -> Cameras:
    """Sixteen cameras to measure by: around at two heights, before white and before black in turn."""
    turn = torch.arange(16)
    azimuth = (turn % 8 + 0.5) * (2 * math.pi / 8)
    return Cameras(azimuth, torch.where(turn < 8, math.radians(10), math.radians(40)), (turn % 2).float())


def random_cameras(count: int, generator: torch.Generator | None = None) -> Cameras:
    """Cameras drawn as for the training of the prior: before black or white, elevations uniform."""
    return spread_cameras(count, 1, generator)


def spread_cameras(count: int, among: int, generator: torch.Generator | None = None) -> Cameras:
    """`count` random cameras, of which every `among` in a row look from all sides, at equal angles."""
    azimuth, height, colour = torch.rand(3, count, generator=generator)
    first = azimuth[torch.arange(count) // among * among]
    azimuth = first + torch.arange(count) % among / among
    return Cameras(
        2 * math.pi * azimuth, MIN_ELEVATION + (MAX_ELEVATION - MIN_ELEVATION) * height, (colour < 0.5).float()
    )
