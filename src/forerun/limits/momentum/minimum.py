"""minimize: a momentum rule followed to the minimum of a function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack, final

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.momentum.rules import Gradient, MomentumRule

MINIMIZE_DEFAULTS = LimitOptions(method=Plain())


@final
@dataclass(frozen=True)
class MomentumMap(Map):
    """One step of a rule on a gradient, as a map of the rule's state."""

    gradient: Gradient
    rule: MomentumRule

    def evaluate(self, state: Tree) -> Tree:
        return self.rule.advance_state(self.gradient, state)


@dataclass(frozen=True)
class MinimumLimit(Limit):
    """What `minimize` returns: a `Limit` whose value is the minimiser.

    Attributes:
        point: the answer of the rule, a tree like the first point.
    """

    point: Tree = None

    @property
    def value(self) -> Any:
        """The minimiser."""
        return self.point


def minimize(
    gradient: Gradient,
    x0: Tree,
    rule: MomentumRule,
    *,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> MinimumLimit:
    """Follow a momentum rule to the minimum of a function, and say how it ended: a cycle is seen.

    Args:
        gradient: takes a point to the gradient there; `torch.func.grad(loss)` makes one.
        x0: the first point, a tree of tensors.
        rule: such as `triple_momentum(smoothness, convexity)`.
        options: how the limit is searched; `LimitOptions`. The method is `Plain()` unless another is named.
        throw: raise where no minimum was reached, rather than return what there is.
        keywords: the options one by one.

    Returns:
        A `MinimumLimit`; its `.rate` can be held against `strongly_convex_rate`.

    Raises:
        NoLimit: the rule cycles, diverges, or did not end in the evaluations allowed, and `throw`.
        TypeError: an argument is of the wrong kind.
    """
    if not isinstance(rule, MomentumRule):
        raise TypeError(
            f"rule must be a MomentumRule, got {rule!r}; write nesterov(smoothness, convexity), or "
            "ConvexNesterov(1 / smoothness)"
        )
    settings = LimitOptions.gather(options, keywords).over(MINIMIZE_DEFAULTS)
    limit = fixed_point(MomentumMap(gradient, rule), rule.begin_state(x0), options=settings, throw=throw)
    return MinimumLimit(**vars(limit), point=rule.read_point(limit.state))
