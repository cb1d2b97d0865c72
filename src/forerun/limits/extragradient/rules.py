"""Rules of descent and ascent for `min_x max_y f(x, y)`: simultaneous, extragradient, optimistic, proximal.

With `z = (x, y)`, `F = (grad_x f, -grad_y f)` and two time scales, `L = diag(1 / timescale, 1)`, the proximal point is
the implicit step `z' = z - step L F(z')`. Its Picard iteration, begun at `z`, is gradient descent-ascent after one
step, extragradient after two (Korpelevich, 1976), and the proximal point itself (Rockafellar, 1976) in the end: `depth`
counts them. Two time scales: Chae, Kim and Kim, arXiv 2305.16242 (ICLR 2024).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.fixed_point import fixed_point
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import LimitOptions

Objective = Callable[[Tree, Tree], Tensor]
Players = dict[str, Tree]  # "x", who makes the objective small, and "y", who makes it large

PROXIMAL_OPTIONS = LimitOptions(tolerance=1e-12, max_evaluations=200)  # of the implicit step


class MinimaxRule(ABC):
    """How the gradients of both players become their next points; a frozen set of numbers."""

    @abstractmethod
    def begin_state(self, players: Players) -> Tree:
        """Return the state of the map at first points."""

    @abstractmethod
    def advance_state(self, objective: Objective, state: Tree) -> Tree:
        """Return the state after a step."""

    @abstractmethod
    def read_players(self, state: Tree) -> Players:
        """Return the points of a state."""


@final
@dataclass(frozen=True)
class PicardSteps(MinimaxRule):
    """The implicit step, approached by some Picard steps: one, two, or until it is solved.

    Args:
        step_size: of the player who ascends.
        timescale: how many times smaller the steps of the player who descends are.
        depth: Picard steps, each a gradient of both; None solves the implicit step.
    """

    step_size: float
    timescale: float = 1.0
    depth: int | None = 2

    def __post_init__(self) -> None:
        refuse_steps(self.step_size, self.timescale)
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth={self.depth} takes no step; pass 1 (descent-ascent), 2 (extragradient) or None")

    def begin_state(self, players: Players) -> Tree:
        return players

    def advance_state(self, objective: Objective, state: Tree) -> Tree:
        def follow_gradient(players: Players) -> Players:
            return move_players(state, ascend(objective, players), self.step_size, self.timescale)

        if self.depth is None:
            return fixed_point(follow_gradient, state, options=PROXIMAL_OPTIONS, throw=False).state
        players = state
        for _ in range(self.depth):
            players = follow_gradient(players)
        return players

    def read_players(self, state: Tree) -> Players:
        players: Players = state
        return players


@final
@dataclass(frozen=True)
class OptimisticSteps(MinimaxRule):
    """Optimistic descent-ascent: twice the gradient less the last one, at the cost of one (Popov, 1980).

    Args:
        step_size: of the player who ascends.
        timescale: how many times smaller the steps of the player who descends are.
    """

    step_size: float
    timescale: float = 1.0

    def __post_init__(self) -> None:
        refuse_steps(self.step_size, self.timescale)

    def begin_state(self, players: Players) -> Tree:
        nothing = pytree.tree_map(torch.zeros_like, players)
        return {"players": players, "slopes": nothing}

    def advance_state(self, objective: Objective, state: Tree) -> Tree:
        slopes = ascend(objective, state["players"])
        ahead = pytree.tree_map(lambda new, old: 2 * new - old, slopes, state["slopes"])
        return {"players": move_players(state["players"], ahead, self.step_size, self.timescale), "slopes": slopes}

    def read_players(self, state: Tree) -> Players:
        players: Players = state["players"]
        return players


def descent_ascent(step_size: float, timescale: float = 1.0) -> PicardSteps:
    """Return simultaneous gradient descent-ascent: one Picard step; it circles a saddle."""
    return PicardSteps(step_size, timescale, depth=1)


def extragradient(step_size: float, timescale: float = 1.0) -> PicardSteps:
    """Return extragradient: two Picard steps, two gradients."""
    return PicardSteps(step_size, timescale, depth=2)


def proximal_point(step_size: float, timescale: float = 1.0) -> PicardSteps:
    """Return the implicit step solved, by as many gradients as that takes; `step_size * L` must be below 1."""
    return PicardSteps(step_size, timescale, depth=None)


def refuse_steps(step_size: float, timescale: float) -> None:
    """Refuse steps that lead nowhere.

    Raises:
        ValueError: a step or a time scale is not positive.
    """
    if not (step_size > 0 and timescale > 0):
        raise ValueError(f"step_size={step_size} and timescale={timescale} must be positive; pass extragradient(0.1)")


def ascend(objective: Objective, players: Players) -> Players:
    """Return the gradients of both players."""
    slopes = torch.func.grad(objective, argnums=(0, 1))(players["x"], players["y"])
    return {"x": slopes[0], "y": slopes[1]}


def move_players(
    players: Players,
    slopes: Players,
    step_size: float,
    timescale: float,
) -> Players:
    """Return the players after a step along given slopes: x goes down, y goes up."""

    def move(points: Tree, slope: Tree, step: float) -> Tree:
        return pytree.tree_map(lambda point, change: point + step * change, points, slope)

    return {
        "x": move(players["x"], slopes["x"], -step_size / timescale),
        "y": move(players["y"], slopes["y"], step_size),
    }
