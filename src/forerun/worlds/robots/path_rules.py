"""Conditions on the path of the hand, beyond the scene's own success: none, or to keep clear of a pillar."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PILLAR_HALF_HEIGHT = 0.12  # metres, in pictures


class PathRule(ABC):
    """A condition on the path that the hand takes; the same for all episodes of a task."""

    @abstractmethod
    def observe_features(self, puck: Array, goal: Array) -> Array:
        """Return what an observation says of the rule, after the scene's own numbers; `(features,)`.

        Args:
            puck: where the object lies when the episode begins, metres `(3,)`.
            goal: where it is to be, metres `(3,)`.
        """

    @abstractmethod
    def is_broken(self, hand: Array, features: Array) -> bool:
        """Return whether a hand at this place, metres `(3,)`, has failed the episode."""

    @abstractmethod
    def draw_features(self, scene: Any, features: Array) -> None:
        """Add what is to be seen of the rule to a `mujoco.MjvScene`."""


@final
@dataclass(frozen=True)
class AnyPath(PathRule):
    """Any path will do."""

    def observe_features(self, puck: Array, goal: Array) -> Array:
        return np.zeros(0)

    def is_broken(self, hand: Array, features: Array) -> bool:
        return False

    def draw_features(self, scene: Any, features: Array) -> None:
        pass


@final
@dataclass(frozen=True)
class AvoidPillar(PathRule):
    """A pillar stands halfway between object and goal: the hand may pass on either side, and not through it.

    It has no body in the simulation: a hand whose centre comes nearer to its axis than `radius` has failed. Its place
    `(2,)` is observed.

    Args:
        radius: metres.
    """

    radius: float = 0.04

    def observe_features(self, puck: Array, goal: Array) -> Array:
        return np.asarray((puck[:2] + goal[:2]) / 2)

    def is_broken(self, hand: Array, features: Array) -> bool:
        return bool(np.linalg.norm(hand[:2] - features) < self.radius)

    def draw_features(self, scene: Any, features: Array) -> None:
        import mujoco

        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=np.array([self.radius, PILLAR_HALF_HEIGHT, 0.0]),
            pos=np.array([*features, PILLAR_HALF_HEIGHT]),
            mat=np.eye(3).flatten(),
            rgba=np.array([0.9, 0.3, 0.2, 0.5], dtype=np.float32),
        )
        scene.ngeom += 1
