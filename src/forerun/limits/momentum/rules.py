"""Momentum: gradient descent, heavy ball, Nesterov's methods and triple momentum as maps, with their rates and flows.

All rules for a strongly convex function of curvatures between `mu` and `L` are one step with four numbers,

    y_t     = (1 + lookahead) x_t - lookahead x_{t-1}
    x_{t+1} = (1 + momentum) x_t - momentum x_{t-1} - step_size grad f(y_t)
    answer  = (1 + output) x_t - output x_{t-1}

(Lessard, Recht and Packard, SIAM J. Optim. 26, 2016; Van Scoy, Freeman and Lynch, IEEE Control Systems
Letters 2, 2018).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree, tree_tensors

Gradient = Callable[[Tree], Tree]

GROWTH_UNIT = 2.0**-100  # in which a momentum that grows for ever is kept, so that it counts as no residual


class MomentumRule(ABC):
    """How a gradient and the last points become the next point; a frozen set of numbers."""

    @abstractmethod
    def begin_state(self, x0: Tree) -> Tree:
        """Return the state of the map at a first point: at rest."""

    @abstractmethod
    def advance_state(self, gradient: Gradient, state: Tree) -> Tree:
        """Return the state after one gradient."""

    @abstractmethod
    def read_point(self, state: Tree) -> Tree:
        """Return the answer that a state stands for."""


@final
@dataclass(frozen=True)
class ConstantMomentum(MomentumRule):
    """The rule with four constant numbers; `heavy_ball`, `nesterov` and the others return one.

    Args:
        step_size: of the gradient.
        momentum: share of the last move that is kept.
        lookahead: share of the last move at which the gradient is taken, beyond the point.
        output: share of the last move that the answer lies beyond the point.
    """

    step_size: float
    momentum: float = 0.0
    lookahead: float = 0.0
    output: float = 0.0

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size={self.step_size} does not descend; pass a positive one: 1 / smoothness")

    def begin_state(self, x0: Tree) -> Tree:
        return {"point": x0, "previous": x0}

    def advance_state(self, gradient: Gradient, state: Tree) -> Tree:
        point, previous = state["point"], state["previous"]
        slope = gradient(move_beyond(point, previous, self.lookahead))
        ahead = move_beyond(point, previous, self.momentum)
        return {"point": subtract_scaled(ahead, slope, self.step_size), "previous": point}

    def read_point(self, state: Tree) -> Tree:
        return move_beyond(state["point"], state["previous"], self.output)

    def quadratic_rate(self, curvatures: Tensor) -> float:
        """Return the factor by which errors fall in a step on a quadratic with these curvatures, `(D,)`.

        It is the largest spectral radius of the two-by-two maps of the single curvatures; above 1 the rule diverges.
        """
        curvatures = curvatures.double()
        matrices = torch.zeros(*curvatures.shape, 2, 2, dtype=torch.float64)
        pull = self.step_size * curvatures
        matrices[..., 0, 0] = 1 + self.momentum - pull * (1 + self.lookahead)
        matrices[..., 0, 1] = -self.momentum + pull * self.lookahead
        matrices[..., 1, 0] = 1
        return float(torch.linalg.eigvals(matrices).abs().max())


@final
@dataclass(frozen=True)
class ConvexNesterov(MomentumRule):
    """Nesterov's method for functions that are convex and no more (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009).

    The momentum grows towards one; the error of the function falls like `2 L |x0 - x*|^2 / (t + 1)^2`.

    Args:
        step_size: at most `1 / smoothness`.
    """

    step_size: float

    def begin_state(self, x0: Tree) -> Tree:
        growth = tree_tensors(x0)[0].new_full((1,), GROWTH_UNIT)
        return {"point": x0, "ahead": x0, "growth": growth}

    def advance_state(self, gradient: Gradient, state: Tree) -> Tree:
        ahead, growth = state["ahead"], state["growth"] / GROWTH_UNIT
        point = subtract_scaled(ahead, gradient(ahead), self.step_size)
        next_growth = (1 + (1 + 4 * growth**2).sqrt()) / 2
        momentum = (growth - 1) / next_growth
        return {
            "point": point,
            "ahead": move_beyond(point, state["point"], momentum),
            "growth": next_growth * GROWTH_UNIT,
        }

    def read_point(self, state: Tree) -> Tree:
        return state["point"]


def trace_rule(
    rule: MomentumRule,
    gradient: Gradient,
    x0: Tensor,
    steps: int,
) -> Tensor:
    """Return the answers of a rule after 0 to `steps` gradients, `(steps + 1, *shape)`, from a first point."""
    state = rule.begin_state(x0)
    points = [rule.read_point(state)]
    for _ in range(steps):
        state = rule.advance_state(gradient, state)
        points.append(rule.read_point(state))
    return torch.stack(points)


def kinked_gradient(x: Tensor) -> Tensor:
    """Return the gradient of a convex function of curvatures 25 and 1, on which `heavy_ball(25, 1)` cycles.

    It goes round three points; Lessard, Recht and Packard, SIAM J. Optim. 26 (2016), section 4.6.
    """
    return torch.where(x < 1, 25 * x, torch.where(x < 2, x + 24, 25 * x - 24))


def gradient_descent(smoothness: float, convexity: float = 0.0) -> ConstantMomentum:
    """Return gradient descent at the step that is best between two curvatures: rate `(k - 1) / (k + 1)`."""
    refuse_curvatures(smoothness, convexity)
    if not convexity:
        return ConstantMomentum(1 / smoothness)
    return ConstantMomentum(2 / (smoothness + convexity))


def heavy_ball(smoothness: float, convexity: float) -> ConstantMomentum:
    """Return Polyak's heavy ball as it is best on quadratics; on other functions it may cycle for ever.

    Its rate on a quadratic is `(sqrt(k) - 1) / (sqrt(k) + 1)`, k the condition number (Polyak, 1964). Lessard, Recht
    and Packard (2016, section 4.6) have a function of one variable on which it goes round three points.
    """
    root = _condition_root(smoothness, convexity)
    momentum = ((root - 1) / (root + 1)) ** 2
    return ConstantMomentum(4 / (sqrt(smoothness) + sqrt(convexity)) ** 2, momentum)


def cautious_heavy_ball(smoothness: float, convexity: float, *, step_size: float | None = None) -> ConstantMomentum:
    """Return heavy ball with the momentum for which convergence is proven: rate `1 - step_size * convexity` of f.

    The momentum is `sqrt((1 - step_size convexity)(1 - step_size smoothness))`, for steps of at most `1 / smoothness`
    (Ghadimi, Feyzmahdavian and Johansson, 2015).
    """
    _condition_root(smoothness, convexity)
    step = 0.5 / smoothness if step_size is None else step_size
    if not 0 < step <= 1 / smoothness:
        raise ValueError(f"step_size={step} is not in (0, 1 / smoothness]; pass at most {1 / smoothness:.6g}")
    return ConstantMomentum(step, sqrt((1 - step * convexity) * (1 - step * smoothness)))


def nesterov(smoothness: float, convexity: float) -> ConstantMomentum:
    """Return Nesterov's method for strongly convex functions: f falls by `1 - 1 / sqrt(k)` a step (Nesterov, 2004)."""
    root = _condition_root(smoothness, convexity)
    momentum = (root - 1) / (root + 1)
    return ConstantMomentum(1 / smoothness, momentum, lookahead=momentum)


def triple_momentum(smoothness: float, convexity: float) -> ConstantMomentum:
    """Return triple momentum, whose rate `1 - 1 / sqrt(k)` of the distance is the best that is proven.

    With `r = 1 - 1 / sqrt(k)`: step `(1 + r) / L`, momentum `r^2 / (2 - r)`, lookahead `r^2 / ((1 + r)(2 - r))` and
    output `r^2 / (1 - r^2)` (Van Scoy, Freeman and Lynch, 2018).
    """
    rate = 1 - 1 / _condition_root(smoothness, convexity)
    return ConstantMomentum(
        (1 + rate) / smoothness,
        rate**2 / (2 - rate),
        lookahead=rate**2 / ((1 + rate) * (2 - rate)),
        output=rate**2 / (1 - rate**2),
    )


def refuse_curvatures(smoothness: float, convexity: float) -> None:
    """Refuse curvatures that no function has.

    Raises:
        ValueError: they are not `0 <= convexity <= smoothness`, or the smoothness is not positive and finite.
    """
    if not (0 <= convexity <= smoothness and 0 < smoothness < float("inf")):
        raise ValueError(
            f"smoothness={smoothness} and convexity={convexity} are not the largest and the smallest curvature of a "
            "convex function; pass smoothness=L, convexity=mu with 0 <= mu <= L"
        )


def _condition_root(smoothness: float, convexity: float) -> float:
    """Return the square root of the condition number."""
    refuse_curvatures(smoothness, convexity)
    if not convexity:
        raise ValueError(
            "convexity=0 leaves this rule no momentum to choose; pass a lower bound of the curvature, or take "
            f"ConvexNesterov({1 / smoothness:.6g})"
        )
    return sqrt(smoothness / convexity)


def move_beyond(point: Tree, previous: Tree, share: float | Tensor) -> Tree:
    """Return a point moved on by a share of its last move."""
    return pytree.tree_map(lambda new, old: new + share * (new - old), point, previous)


def subtract_scaled(point: Tree, slope: Tree, factor: float) -> Tree:
    """Return a point less a multiple of a tree like it."""
    return pytree.tree_map(lambda value, change: value - factor * change, point, slope)
