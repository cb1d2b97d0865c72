"""Jacobi: every step from the old state of its own slot."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.methods.base import Evaluate, Method, WindowState, WindowUpdate
from forerun.engine.methods.blocks import joined, walk


@dataclass(frozen=True)
class Jacobi(Method):
    """`x_{i+1} = advance(i, x_i', o_i)` with `x_i'` the state of the round before.

    Information moves one step a round. Song et al., arXiv 2002.03629. Where the state holds more than
    the input, a step is accepted only when the rest of its state no longer moves either.
    """

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        walked = walk(front, evaluate, 1)
        return joined(front, walked, walked.ends)
