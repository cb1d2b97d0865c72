"""Boxed: another method, which evaluates nothing outside of bounds that the true path never leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate

Bound = float | tuple[float, ...]  # one number, or one an element of a row


@dataclass(frozen=True)
class Boxed(Method):
    """Another method's path, held between bounds before it is evaluated again.

        u_i <- min(max(x_i, lower), upper)

    Far from the path slopes are wild, and a sweep with them may run off by many powers of ten; evaluated there, they
    tell nothing of the path. Where it is known that no true state leaves a box, as those of a gated cell never leave
    [-1, 1], what lies outside is put on its face. A path that has settled lies inside, and is not touched.

    Args:
        method: makes the path.
        lower: the least that an input may be, for all elements or one by one.
        upper: the most.
    """

    method: Method
    lower: Bound = -inf
    upper: Bound = inf

    @property
    def needs_every_step(self) -> bool:
        return self.method.needs_every_step

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        update = self.method.iterate(window_state, evaluate)
        guesses = update.inputs
        if update.guesses is not None:
            guesses = update.guesses
        lower, upper = guesses.new_tensor(self.lower), guesses.new_tensor(self.upper)
        clipped = torch.maximum(torch.minimum(guesses, upper), lower)  # nan stays
        return replace(update, guesses=clipped)

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)
