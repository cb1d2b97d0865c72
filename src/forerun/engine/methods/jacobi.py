"""Jacobi: every step from the old state of its own slot."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.blocks import join_blocks, walk_blocks
from forerun.engine.methods.evaluations import Evaluate


@dataclass(frozen=True)
class Jacobi(Method):
    """`x_{i+1} = advance(i, x_i', o_i)` with `x_i'` the state of the round before.

    Information moves one step a round. Song et al., arXiv 2002.03629. Where the state holds more than
    the input, a step is accepted only when the rest of its state no longer moves either.
    """

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        walk = walk_blocks(window_state, evaluate, 1)
        return join_blocks(window_state, walk, walk.end_states)
