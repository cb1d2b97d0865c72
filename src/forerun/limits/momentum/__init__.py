"""Momentum: a catalogue of accelerated gradient methods with their rates, their cycles and their flows."""

from forerun.limits.momentum.flow import MomentumFlow, distance_to_flow, follow_flow
from forerun.limits.momentum.minimum import MinimumLimit, MomentumMap, minimize
from forerun.limits.momentum.rules import (
    ConstantMomentum,
    ConvexNesterov,
    MomentumRule,
    cautious_heavy_ball,
    gradient_descent,
    heavy_ball,
    kinked_gradient,
    nesterov,
    trace_rule,
    triple_momentum,
)

__all__ = [
    "ConstantMomentum",
    "ConvexNesterov",
    "MinimumLimit",
    "MomentumFlow",
    "MomentumMap",
    "MomentumRule",
    "cautious_heavy_ball",
    "distance_to_flow",
    "follow_flow",
    "gradient_descent",
    "heavy_ball",
    "kinked_gradient",
    "minimize",
    "nesterov",
    "trace_rule",
    "triple_momentum",
]
