"""Experts that show a task: Meta-World's own scripts, and one that goes round a pillar on either side."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from forerun.worlds.robots.path_rules import Array

# (observation of the scene (39,), features of the path rule) -> action (4,) in [-1, 1]: displacements, the gripper
ExpertActor = Callable[[Array, Array], Array]

HAND_POSITION, GRIPPER_OPENING, PUCK_POSITION, GOAL_POSITION = (
    slice(0, 3),
    3,
    slice(4, 7),
    slice(36, 39),
)  # of a scene's observation
GRIPPER_CLOSED = 0.73  # the gripper's opening with an object in it, as Meta-World's script takes it


class Expert(ABC):
    """Knows how a task is done."""

    @abstractmethod
    def begin_episode(self, random: np.random.Generator) -> ExpertActor:
        """What it does in one episode; `random` decides where there is a choice."""


@final
@dataclass(frozen=True)
class ScriptedExpert(Expert):
    """A script of Meta-World (Yu et al. 2020); always the same action at the same observation.

    Args:
        name: of a class of `metaworld.policies`.
    """

    name: str

    def begin_episode(self, random: np.random.Generator) -> ExpertActor:
        import metaworld.policies

        script = getattr(metaworld.policies, self.name)()
        return lambda observation, features: _clipped(script, observation)


@final
@dataclass(frozen=True)
class PillarExpert(Expert):
    """Fetches the object by a script, and brings it to the goal round the pillar: left or right, by a coin.

    Args:
        script: fetches the object, and would go straight to the goal.
        beside: how far from the pillar's axis it passes, metres.
    """

    script: ScriptedExpert = ScriptedExpert("SawyerPickPlaceV3Policy")
    beside: float = 0.11

    def begin_episode(self, random: np.random.Generator) -> ExpertActor:
        fetch, side = self.script.begin_episode(random), random.choice([-1.0, 1.0])

        def act(observation: Array, features: Array) -> Array:
            action = fetch(observation, features)
            hand, goal = observation[HAND_POSITION], observation[GOAL_POSITION]
            ahead, across = _directions(features, goal)
            held = (
                observation[GRIPPER_OPENING] <= GRIPPER_CLOSED
                and np.linalg.norm(observation[PUCK_POSITION] - hand) < 0.06
            )
            if held and (hand[:2] - features) @ ahead < 0.02:
                beside = features + 0.05 * ahead + self.beside * side * across
                height = (0.15 + goal[2]) / 2
                action[:3] = np.clip(15 * (np.array([*beside, height]) - hand), -1, 1)
            return action

        return act


def measure_side(actions: Array, features: Array, goal: Array) -> Array:
    """How far chunks of actions move across the line to the goal, `(N,)`: the sign tells the side of the pillar.

    Args:
        actions: `(N, H, A)`, in the environment's units.
        features: the pillar's place, `(2,)`.
        goal: `(3,)`.
    """
    _, across = _directions(features, goal)
    return np.asarray(actions[..., :2].sum(1) @ across)


def _directions(pillar: Array, goal: Array) -> tuple[Array, Array]:
    """Unit vectors `(2,)` along the line from object to goal, and across it to the left."""
    ahead = (goal[:2] - pillar) / np.linalg.norm(goal[:2] - pillar)
    return ahead, np.array([-ahead[1], ahead[0]])


def _clipped(script: Any, observation: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that its gains are high, at every step
        return np.clip(np.asarray(script.get_action(observation), dtype=np.float64), -1, 1)
