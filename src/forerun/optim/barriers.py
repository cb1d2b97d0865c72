"""Barriers: steps before which the parameters change their shape, and which no window straddles."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from forerun.engine.numerics.tree import Tree

Moments = dict[str, Tree]
ChangeFunction = Callable[[int, Tree, Moments], tuple[Tree, Moments | None]]


@dataclass(frozen=True)
class Barriers:
    """Steps before which a function changes the tree of parameters: densify, prune, refine a grid.

    Args:
        steps: before which the change is made; a collection of them, or a function that says whether a step is one.
        change: `change(step, params, moments) -> (params, moments)`. `params` is the tree of the loop (a module comes
            as a dict of its trained tensors); `moments` has a tree like it for everything that the optimisers keep in
            the shape of a parameter, by its name (`exp_avg`, `momentum_buffer`), and `average` where parameters are
            averaged, with zeros where there is nothing yet. What holds of one row of a parameter holds of its moments:
            the same function over both trees carries them along. Moments of None start the optimisers afresh. It is
            called with the step's seed in force, and once for each barrier; meanwhile the user's objects hold the
            state before the step.
    """

    steps: Collection[int] | Callable[[int], bool]
    change: ChangeFunction

    def is_due(self, step: int) -> bool:
        """Return whether the change is made before this step."""
        return self.steps(step) if callable(self.steps) else step in self.steps

    def segment_end(self, start: int, end: int) -> int:
        """Return where a segment from `start` on ends: before the next barrier, or at the end."""
        return next((step for step in range(start + 1, end) if self.is_due(step)), end)


NO_BARRIERS = Barriers((), lambda step, params, moments: (params, moments))
