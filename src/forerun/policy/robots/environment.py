"""A task and its environment: Meta-World's Sawyer arm, observed as a vector, with every episode told by its seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from forerun.policy.robots.course import Array, Course, Open
from forerun.policy.robots.experts import GOAL, HAND, PUCK, Expert

OBSERVED = 11  # of a frame: hand (3), gripper (1), object (3) and its rotation (4); the rest stays zero in these scenes
ACTION = 4  # three displacements and the gripper's effort
INSTALL = "robots need Meta-World and MuJoCo: pip install 'forerun[robots]'"


@dataclass(frozen=True)
class Task:
    """What a robot shall do.

    Args:
        name: as the command line has it.
        scene: the environment of Meta-World.
        expert: shows how.
        limit: steps of an episode at most; success ends it earlier.
        noise: that disturbs the expert's displacements in demonstrations, in units of a whole one.
        course: what is asked besides.
    """

    name: str
    scene: str
    expert: Expert
    limit: int
    noise: float = 0.2
    course: Course = Open()


@dataclass(frozen=True)
class Moment:
    """Where an episode stands.

    Attributes:
        observation: what a policy sees, float64 `(observed,)`: this frame, the one before, the goal, the course.
        scene: Meta-World's own observation `(39,)`, for experts.
        reward: of the step that led here, 0 to 10.
        success: the task is done.
        failed: the course was broken.
    """

    observation: Array
    scene: Array
    reward: float = 0.0
    success: bool = False
    failed: bool = False


@final
class Environment:
    """One arm with one task.

    Args:
        task: what it shall do.

    Raises:
        ImportError: Meta-World is not installed; the message has the line to type.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.arm = _arm(task.scene)
        self.features = np.zeros(0)

    def reset(self, seed: int) -> Moment:
        """Begin an episode; the same seed begins the same one."""
        self.arm.seed(seed)
        scene, _ = self.arm.reset()
        self.features = self.task.course.features(scene[PUCK], scene[GOAL])
        return Moment(self._observe(scene), scene)

    def step(self, action: Array) -> Moment:
        """Take one action `(4,)`, clipped to [-1, 1]; an eightieth of a second passes.

        Raises:
            ValueError: the action has another shape, or is not finite.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (ACTION,) or not np.isfinite(action).all():
            raise ValueError(f"an action is {ACTION} finite numbers, got {action}; pass one row of a chunk")
        scene, reward, _, _, info = self.arm.step(np.clip(action, -1, 1))
        failed = self.task.course.broken(scene[HAND], self.features)
        done = bool(info["success"]) and not failed
        return Moment(self._observe(scene), scene, float(reward), done, failed)

    def _observe(self, scene: Array) -> Array:
        frames = scene[:OBSERVED], scene[18 : 18 + OBSERVED]
        return np.concatenate([*frames, scene[GOAL], self.features])


def _arm(scene: str) -> Any:
    """An arm of Meta-World whose goal is observed, and new in every episode."""
    try:
        from metaworld import env_dict
    except ImportError as error:
        raise ImportError(INSTALL) from error
    arm = env_dict.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{scene}-goal-observable"](seed=0)
    arm._freeze_rand_vec = False  # else every episode has the same goal
    arm.seeded_rand_vec = True
    return arm
