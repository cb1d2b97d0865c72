"""Picard: the plain fixed point iteration on the path."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.methods.base import WindowState
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod


@dataclass(frozen=True)
class Picard(SlopeMethod):
    """`S_i = 0`: outputs are taken as they were evaluated, and swept in order.

    With the step's increment as output and `Copy` as guess this is ParaDiGMS (arXiv 2305.16317, Algorithm 1).
    """

    @property
    def needs_every_step(self) -> bool:
        return False

    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        return SlopedOutputs(window_state.evaluate_skeleton(evaluate))
