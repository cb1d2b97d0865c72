"""Meta-World's Sawyer arm, observed as a vector."""

from __future__ import annotations

import ctypes.util
import os
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from forerun.worlds.robots.arm_renderer import ArmRenderer
from forerun.worlds.robots.environment import Environment, PictureSource, RobotTask, StepOutcome, check_action
from forerun.worlds.robots.experts import GOAL_POSITION, HAND_POSITION, PUCK_POSITION
from forerun.worlds.robots.path_rules import AnyPath, Array, PathRule

FRAME_SIZE = (
    11  # of a frame: hand (3), gripper (1), object (3) and its rotation (4); the rest stays zero in these scenes
)
ACTION_SIZE = 4  # three displacements and the gripper's effort, each in [-1, 1]


@final
@dataclass(frozen=True, kw_only=True)
class ArmTask(RobotTask):
    """A task of the arm.

    Args:
        scene: the environment of Meta-World.
        path_rule: what is asked besides.
    """

    packages = ("metaworld", "mujoco")
    install = "robots need Meta-World and MuJoCo: pip install 'forerun[robots]'"
    scene: str
    path_rule: PathRule = AnyPath()

    @property
    def title(self) -> str:
        return f"{self.scene} of Meta-World"

    @property
    def displacements(self) -> int:
        return ACTION_SIZE - 1

    def environment(self) -> Arm:
        return Arm(self)

    def check_rendering(self) -> None:
        if "MUJOCO_GL" not in os.environ and ctypes.util.find_library("OSMesa") is None:
            raise ImportError(
                "no video: rendering without a screen needs OSMesa; on Debian: apt-get install libosmesa6"
            )


@final
class Arm(Environment):
    """One arm with one task; a step is an eightieth of a second.

    An observation is this frame, the one before, the goal and the path_rule. The reward is Meta-World's, 0 to 10.

    Raises:
        ImportError: Meta-World is not installed; the message has the line to type.
    """

    rate = 80

    def __init__(self, task: ArmTask) -> None:
        self.task: ArmTask = task
        self.arm = _arm(task.scene)
        self.features = np.zeros(0)

    def reset(self, seed: int) -> StepOutcome:
        self.arm.seed(seed)
        scene, _ = self.arm.reset()
        self.features = self.task.path_rule.features(scene[PUCK_POSITION], scene[GOAL_POSITION])
        return StepOutcome(self._observe(scene), scene)

    def step(self, action: Array) -> StepOutcome:
        scene, reward, _, _, info = self.arm.step(np.clip(check_action(action, ACTION_SIZE), -1, 1))
        failed = self.task.path_rule.is_broken(scene[HAND_POSITION], self.features)
        done = bool(info["success"]) and not failed
        return StepOutcome(self._observe(scene), scene, float(reward), done, failed)

    def stage(self, width: int, height: int) -> PictureSource:
        return ArmRenderer(self.arm, lambda scene: self.task.path_rule.draw(scene, self.features), width, height)

    def _observe(self, scene: Array) -> Array:
        frames = scene[:FRAME_SIZE], scene[18 : 18 + FRAME_SIZE]
        return np.concatenate([*frames, scene[GOAL_POSITION], self.features])


def _arm(scene: str) -> Any:
    """An arm of Meta-World whose goal is observed, and new in every episode."""
    try:
        from metaworld import env_dict
    except ImportError as error:
        raise ImportError(ArmTask.install) from error
    arm = env_dict.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{scene}-goal-observable"](seed=0)
    arm._freeze_rand_vec = False  # else every episode has the same goal
    arm.seeded_rand_vec = True
    return arm
