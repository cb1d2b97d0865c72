"""A robot's task and the environment that it is done in; a seed decides all of an episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from forerun.worlds.robots.experts import Expert
from forerun.worlds.robots.path_rules import Array


@dataclass(frozen=True, kw_only=True)
class RobotTask(ABC):
    """The task of a robot.

    Args:
        name: as the command line has it.
        expert: demonstrates it.
        max_steps: steps of an episode at most; success ends it earlier.
        noise: that disturbs the expert's displacements in demonstrations, in units of an action.
        linger: steps that a demonstration goes on from success, so that the last chunks know where to stay.

    Attributes:
        packages: that simulate its world.
        install: what to say where one of them is missing.
    """

    packages: ClassVar[tuple[str, ...]]
    install: ClassVar[str]

    name: str
    expert: Expert
    max_steps: int
    noise: float = 0.2
    linger: int = 8

    @property
    @abstractmethod
    def title(self) -> str:
        """The environment, in words."""

    @property
    @abstractmethod
    def displacements(self) -> int:
        """How many leading numbers of an action move the robot; the numbers after them are not disturbed."""

    @abstractmethod
    def environment(self) -> Environment:
        """Return an environment to do it in.

        Raises:
            ImportError: what simulates it is not installed; the message has the line to type.
        """

    @abstractmethod
    def check_rendering(self) -> None:
        """Make sure that its environment can be drawn without a screen.

        Raises:
            ImportError: what draws it is not installed; the message has the line to type.
        """


@dataclass(frozen=True)
class StepOutcome:
    """Where an episode stands after a step, or at its beginning.

    Attributes:
        observation: what a policy sees, float64 `(observed,)`.
        scene: the simulation's own observation, for experts.
        reward: of the step that led here.
        success: the task is done.
        failed: the path rule was broken.
    """

    observation: Array
    scene: Array
    reward: float = 0.0
    success: bool = False
    failed: bool = False


class EnvironmentRenderer(Protocol):
    """Draws pictures of an environment."""

    def draw_picture(self) -> Any:
        """Return a picture of the environment as it is now, uint8 `(height, width, 3)`."""


class Environment(ABC):
    """A world with one robot and one task.

    Attributes:
        task: of the robot.
        features: what the task adds to an observation in this episode.
        rate: steps a second.
    """

    task: RobotTask
    features: Array
    rate: int

    @abstractmethod
    def reset(self, seed: int) -> StepOutcome:
        """Begin an episode; the same seed begins the same one."""

    @abstractmethod
    def step(self, action: Array) -> StepOutcome:
        """Take one action.

        Raises:
            ValueError: the action has another shape, or is not finite.
        """

    @abstractmethod
    def make_renderer(self, width: int, height: int) -> EnvironmentRenderer:
        """Return what draws it without a screen, in pictures of `width` times `height` pixels."""


def check_action(action: Array, size: int) -> Array:
    """Return an action as float64 `(size,)`.

    Raises:
        ValueError: it has another shape, or is not finite.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (size,) or not np.isfinite(action).all():
        raise ValueError(f"an action is {size} finite numbers, got {action}; pass one row of a chunk")
    return action
