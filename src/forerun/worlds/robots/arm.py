"""Meta-World's Sawyer arm, observed as a vector."""

from __future__ import annotations

import ctypes.util
import os
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from forerun.worlds.robots.arm_renderer import ArmRenderer
from forerun.worlds.robots.environment import Environment, EnvironmentRenderer, RobotTask, StepOutcome, check_action
from forerun.worlds.robots.experts import GOAL_POSITION, HAND_POSITION, PUCK_POSITION
from forerun.worlds.robots.path_rules import AnyPath, Array, PathRule

# hand (3), gripper (1), object (3) and its rotation (4); the other numbers of a frame stay zero in these scenes
FRAME_SIZE = 11
LAST_FRAME = slice(18, 18 + FRAME_SIZE)  # where a scene's observation has the frame before
ACTION_SIZE = 4  # three displacements and the gripper's effort, each in [-1, 1]


@final
@dataclass(frozen=True, kw_only=True)
class ArmTask(RobotTask):
    """A task of the arm.

    Args:
        scene: the environment of Meta-World.
        path_rule: a condition on the path of the hand.
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

    An observation is this frame, the one before, the goal and the features of the path rule. The reward is
    Meta-World's, 0 to 10.

    Raises:
        ImportError: Meta-World is not installed; the message has the line to type.
    """

    rate = 80

    def __init__(self, task: ArmTask) -> None:
        self.task: ArmTask = task
        self.arm = _make_arm(task.scene)
        self.features = np.zeros(0)

    def reset(self, seed: int) -> StepOutcome:
        self.arm.seed(seed)
        scene, _ = self.arm.reset()
        self.features = self.task.path_rule.observe_features(scene[PUCK_POSITION], scene[GOAL_POSITION])
        return StepOutcome(self._observe_scene(scene), scene)

    def step(self, action: Array) -> StepOutcome:
        clipped = np.clip(check_action(action, ACTION_SIZE), -1, 1)
        scene, reward, _, _, info = self.arm.step(clipped)
        failed = self.task.path_rule.is_broken(scene[HAND_POSITION], self.features)
        success = bool(info["success"]) and not failed
        return StepOutcome(self._observe_scene(scene), scene, float(reward), success, failed)

    def make_renderer(self, width: int, height: int) -> EnvironmentRenderer:
        return ArmRenderer(self.arm, self._draw_features, width, height)

    def _draw_features(self, scene: Any) -> None:
        self.task.path_rule.draw_features(scene, self.features)

    def _observe_scene(self, scene: Array) -> Array:
        return np.concatenate([scene[:FRAME_SIZE], scene[LAST_FRAME], scene[GOAL_POSITION], self.features])


def _make_arm(scene: str) -> Any:
    """Return an arm of Meta-World whose goal is observed, and new in every episode."""
    try:
        from metaworld import env_dict
    except ImportError as error:
        raise ImportError(ArmTask.install) from error
    kind = env_dict.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{scene}-goal-observable"]
    arm = kind(seed=0)
    arm._freeze_rand_vec = False  # else every episode has the same goal
    arm.seeded_rand_vec = True
    return arm
