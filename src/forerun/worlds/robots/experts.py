"""Experts that show a task: Meta-World's own scripts, and one that goes round a pillar on either side."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from forerun.worlds.robots.path_rules import Array

ExpertActor = Callable[[Array, Array], Array]
"""From a scene's observation, of the arm `(39,)`, and the features of the path rule `(F,)` to an action `(4,)`."""

# where a scene's observation has them
HAND_POSITION = slice(0, 3)
GRIPPER_OPENING = 3
PUCK_POSITION = slice(4, 7)
GOAL_POSITION = slice(36, 39)
GRIPPER_CLOSED = 0.73  # the gripper's opening with an object in it, as Meta-World's script has it
GRASP_DISTANCE = 0.06  # metres between hand and object, below which the object is in the hand
PASSING_POINT = 0.05  # metres after the pillar that the hand aims at while it passes
PASSED = 0.02  # metres after the pillar from which on the hand goes straight to the goal
PILLAR_HEIGHT = 0.15  # metres
HAND_GAIN = 15.0


class Expert(ABC):
    """Knows how a task is done."""

    @abstractmethod
    def begin_episode(self, rng: np.random.Generator) -> ExpertActor:
        """Return what it does in one episode; `rng` decides where there is a choice."""


@final
@dataclass(frozen=True)
class ScriptedExpert(Expert):
    """A script of Meta-World (Yu et al. 2020); always the same action at the same observation.

    Args:
        name: of a class of `metaworld.policies`.
    """

    name: str

    def begin_episode(self, rng: np.random.Generator) -> ExpertActor:
        import metaworld.policies

        script = getattr(metaworld.policies, self.name)()
        return lambda observation, features: _clipped_action(script, observation)


@final
@dataclass(frozen=True)
class PillarExpert(Expert):
    """Fetches the object by a script, and brings it to the goal round the pillar: left or right, at random.

    Args:
        script: fetches the object, and would go straight to the goal.
        clearance: how far from the pillar's axis it passes, metres.
    """

    script: ScriptedExpert = ScriptedExpert("SawyerPickPlaceV3Policy")
    clearance: float = 0.11

    def begin_episode(self, rng: np.random.Generator) -> ExpertActor:
        fetch = self.script.begin_episode(rng)
        side = rng.choice([-1.0, 1.0])

        def act(observation: Array, features: Array) -> Array:
            action = fetch(observation, features)
            hand = observation[HAND_POSITION]
            goal = observation[GOAL_POSITION]
            ahead, across = _pillar_directions(features, goal)
            has_passed = (hand[:2] - features) @ ahead >= PASSED
            if _has_grasped(observation) and not has_passed:
                waypoint = features + PASSING_POINT * ahead + self.clearance * side * across
                height = (PILLAR_HEIGHT + goal[2]) / 2
                displacement = np.array([*waypoint, height]) - hand
                action[:3] = np.clip(HAND_GAIN * displacement, -1, 1)
            return action

        return act


def measure_side(actions: Array, features: Array, goal: Array) -> Array:
    """Return how far chunks of actions move across the line to the goal, `(N,)`: the sign is the side of the pillar.

    Args:
        actions: `(N, H, A)`, in the environment's units.
        features: the pillar's place, `(2,)`.
        goal: `(3,)`.
    """
    _, across = _pillar_directions(features, goal)
    return np.asarray(actions[..., :2].sum(1) @ across)


def _has_grasped(observation: Array) -> bool:
    distance = np.linalg.norm(observation[PUCK_POSITION] - observation[HAND_POSITION])
    return bool(observation[GRIPPER_OPENING] <= GRIPPER_CLOSED and distance < GRASP_DISTANCE)


def _pillar_directions(pillar: Array, goal: Array) -> tuple[Array, Array]:
    """Return unit vectors `(2,)` along the line from object to goal, and across it to the left."""
    line = goal[:2] - pillar
    ahead = line / np.linalg.norm(line)
    return ahead, np.array([-ahead[1], ahead[0]])


def _clipped_action(script: Any, observation: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that its gains are high, at every step
        action = script.get_action(observation)
    return np.clip(np.asarray(action, dtype=np.float64), -1, 1)
