"""Push-T: a disc pushes a T-shaped block onto its place in the plane (Chi et al., arXiv 2303.04137; gym-pusht)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from forerun.worlds.robots.environment import Environment, EnvironmentRenderer, RobotTask, StepOutcome, check_action
from forerun.worlds.robots.path_rules import Array

ARENA_SIDE: Final = 512.0  # in pixels; actions are places in the arena
BLOCK_OUTLINE: Final = np.array(  # in the block's own coordinates
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], dtype=np.float64
)


@final
@dataclass(frozen=True, kw_only=True)
class PushTask(RobotTask):
    """Cover at least 95 % of the T's place; 300 steps of a tenth of a second, as gym-pusht has it."""

    packages = ("gym_pusht",)
    install = "Push-T needs gym-pusht: pip install 'forerun[push-t]'"
    max_steps: int = 300
    noise: float = 4.0  # pixels
    linger: int = 1  # the next push would move the block off its place

    @property
    def title(self) -> str:
        return "PushT-v0 of gym-pusht"

    @property
    def displacements(self) -> int:
        return 2

    def environment(self) -> PushT:
        return PushT(self)

    def check_rendering(self) -> None:
        pass


@final
class PushT(Environment):
    """The arena of gym-pusht.

    An action `(2,)` is where the disc is to go, pixels. An observation is the disc `(2,)` and the corners of the block
    `(8, 2)`, of this frame and of the one before. The reward is the share of the place that is covered, relative to
    the 95 % that are success, at most 1. Experts see gym-pusht's own state: disc `(2,)`, block `(2,)` and its angle.

    Raises:
        ImportError: gym-pusht is not installed; the message has the line to type.
    """

    rate = 10

    def __init__(self, task: PushTask) -> None:
        self.task = task
        self.arena = make_arena()
        self.features = np.zeros(0)
        self._last_frame = np.zeros(0)

    def reset(self, seed: int) -> StepOutcome:
        scene, _ = self.arena.reset(seed=seed)
        self._last_frame = _read_frame(scene)
        return StepOutcome(self._observe_scene(scene), scene)

    def step(self, action: Array) -> StepOutcome:
        place = np.clip(check_action(action, 2), 0, ARENA_SIDE)
        scene, reward, done, _, _ = self.arena.step(place)
        return StepOutcome(self._observe_scene(scene), scene, float(reward), bool(done))

    def make_renderer(self, width: int, height: int) -> EnvironmentRenderer:
        side = min(width, height)
        self.arena.visualization_width = side
        self.arena.visualization_height = side
        return ArenaRenderer(self.arena, width, height)

    def _observe_scene(self, scene: Array) -> Array:
        frame = _read_frame(scene)
        observation = np.concatenate([frame, self._last_frame])
        self._last_frame = frame
        return observation


def place_points(points: Array, pose: Array) -> Array:
    """Return points `(N, 2)` of the block in the arena, where its origin is at `pose[:2]`, turned by `pose[2]`."""
    cos = math.cos(pose[2])
    sin = math.sin(pose[2])
    rotation = np.array([[cos, sin], [-sin, cos]])
    return np.asarray(points @ rotation + pose[:2])


def make_arena() -> Any:
    """Return an arena of gym-pusht, which needs no screen."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        from gym_pusht.envs import PushTEnv
    except ImportError as error:
        raise ImportError(f"{PushTask.install} ({error})") from error
    return PushTEnv()


def _read_frame(scene: Array) -> Array:
    corners = place_points(BLOCK_OUTLINE, scene[2:])
    return np.concatenate([scene[:2], corners.flatten()])


@final
@dataclass(frozen=True)
class ArenaRenderer:
    """Draws the square arena in the middle of a white picture."""

    arena: Any
    width: int
    height: int

    def draw_picture(self) -> Any:
        """Return the arena as it is now, uint8 `(height, width, 3)`."""
        square = self.arena.render()
        side = min(self.height, self.width)
        top = (self.height - side) // 2
        left = (self.width - side) // 2
        picture = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        picture[top : top + side, left : left + side] = square
        return picture
