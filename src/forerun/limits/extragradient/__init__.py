"""Extragradient: local minimax points by descent and ascent on two time scales, and the test of what was found."""

from forerun.limits.extragradient.minimax import MinimaxLimit, MinimaxMap, minimax
from forerun.limits.extragradient.rules import (
    MinimaxRule,
    OptimisticSteps,
    PicardSteps,
    descent_ascent,
    extragradient,
    proximal_point,
)
from forerun.limits.extragradient.stationary import StationaryVerdict, judge_stationary, step_radius

__all__ = [
    "MinimaxLimit",
    "MinimaxMap",
    "MinimaxRule",
    "OptimisticSteps",
    "PicardSteps",
    "StationaryVerdict",
    "descent_ascent",
    "extragradient",
    "judge_stationary",
    "minimax",
    "proximal_point",
    "step_radius",
]
