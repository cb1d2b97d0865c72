"""The simulation in which the expert of Push-T tries pushes, and the distance that it makes small."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from forerun.worlds.robots.path_rules import Array
from forerun.worlds.robots.push_t import BLOCK_OUTLINE, make_arena, place_points

GOAL_POSE: Final = np.array([256.0, 256.0, math.pi / 4])  # gym-pusht's place of the T: pixels and radians


def corner_distance(pose: Array) -> float:
    """Return the mean distance of the block's corners to their places, in pixels."""
    corners = place_points(BLOCK_OUTLINE, pose)
    goal_corners = place_points(BLOCK_OUTLINE, GOAL_POSE)
    return float(np.linalg.norm(corners - goal_corners, axis=1).mean())


class PushSimulation:
    """An arena of its own to try pushes in."""

    def __init__(self) -> None:
        self._arena: Any = make_arena()
        self._arena.reset(seed=0)

    def follow(
        self,
        start: Array,
        pose: Array,
        places: Sequence[Array],
    ) -> Iterator[float]:
        """Yield how far the block is from its place, step by step, while the disc goes from place to place.

        Args:
            start: of the disc, `(2,)`.
            pose: of the block at the beginning, `(3,)`.
            places: where the disc is to be after each step, `(2,)` each.
        """
        disc = self._arena.agent
        block = self._arena.block
        disc.position = tuple(start)
        disc.velocity = (0, 0)
        block.angle = float(pose[2])
        block.position = tuple(pose[:2])
        block.velocity = (0, 0)
        block.angular_velocity = 0
        for body in (disc, block):
            self._arena.space.reindex_shapes_for_body(body)
        for x, y in places:
            self._step_arena(float(x), float(y))
            yield corner_distance(np.array([*block.position, block.angle]))

    def _step_arena(self, x: float, y: float) -> None:
        """Take a step of the arena towards a place, without measuring anything."""
        disc = self._arena.agent
        space = self._arena.space
        dt = self._arena.dt
        stiffness, damping = self._arena.k_p, self._arena.k_v
        for _ in range(round(1 / (dt * self._arena.control_hz))):
            (px, py), (vx, vy) = disc.position, disc.velocity
            disc.velocity = (
                vx + (stiffness * (x - px) - damping * vx) * dt,
                vy + (stiffness * (y - py) - damping * vy) * dt,
            )
            space.step(dt)
