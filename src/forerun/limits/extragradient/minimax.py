"""minimax: a stationary point of `min_x max_y f(x, y)`, and what its second derivatives say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack, final

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.extragradient.rules import MinimaxRule, Objective, Players, extragradient
from forerun.limits.extragradient.stationary import StationaryVerdict, judge_stationary

MINIMAX_DEFAULTS = LimitOptions(method=Plain())
DEFAULT_RULE = extragradient(0.1)


@final
@dataclass(frozen=True)
class MinimaxMap(Map):
    """One step of a rule for two players, as a map of the rule's state."""

    objective: Objective
    rule: MinimaxRule

    def evaluate(self, state: Tree) -> Tree:
        return self.rule.advance_state(self.objective, state)


@dataclass(frozen=True)
class MinimaxLimit(Limit):
    """What `minimax` returns: a `Limit` whose value is the pair of both points.

    Attributes:
        players: the points, `{"x": ..., "y": ...}`.
        verdict: what the second derivatives say; None where they were not asked for.
    """

    players: Players | None = None
    verdict: StationaryVerdict | None = None

    @property
    def value(self) -> Any:
        """The points `(x, y)`."""
        assert self.players is not None
        return self.players["x"], self.players["y"]


def minimax(
    objective: Objective,
    x: Tree,
    y: Tree,
    rule: MinimaxRule = DEFAULT_RULE,
    *,
    judged: bool = True,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> MinimaxLimit:
    """Find a local minimax point of `min_x max_y f(x, y)` and judge it.

    Args:
        objective: takes `x` and `y` to a number, by operations that torch can differentiate.
        x: first point of the player who descends, a tree of tensors.
        y: first point of the player who ascends.
        rule: `extragradient(step_size, timescale)`, or another; a large time scale and a step that is not too small
            find local minimax points also where the curvature of y is singular.
        judged: look at the second derivatives of the limit; False for large models.
        options: how the limit is searched; `LimitOptions`. The method is `Plain()` unless another is named: mixing is
            fast near a point, and attracted by points of every kind.
        throw: raise where no point was reached, rather than return what there is.
        keywords: the options one by one.

    Raises:
        NoLimit: the players go round, run away, or did not settle in the evaluations allowed, and `throw`.
        TypeError: an argument is of the wrong kind.
        ValueError: the players are too large to be judged.
    """
    if not isinstance(rule, MinimaxRule):
        raise TypeError(f"rule must be a MinimaxRule, got {rule!r}; write extragradient(step_size=0.1)")
    settings = LimitOptions.gather(options, keywords).over(MINIMAX_DEFAULTS)
    limit = fixed_point(MinimaxMap(objective, rule), rule.begin_state({"x": x, "y": y}), options=settings, throw=throw)
    players = rule.read_players(limit.state)
    verdict = None
    if judged and limit.status.done:
        verdict = judge_stationary(objective, players["x"], players["y"])
    return MinimaxLimit(**vars(limit), players=players, verdict=verdict)
