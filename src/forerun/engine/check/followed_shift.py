"""FollowedShift: a random shift of a state, followed through some steps of a run that takes one step a round.

The direction in which a shift grows most takes a few steps to show: in one step a random one may even shrink on a path
that is chaotic. Where rounds accept more than one step, following it would cost calls of its own, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from typing import Final

from forerun.engine.check.carried_distance import scale_distance
from forerun.engine.check.sampled_steps import (
    SMALLEST_SHIFT,
    EvaluateApart,
    advance_shifted,
    draw_direction,
    measure_rows,
    shift_state,
    subtract_states,
)
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem

ALIGNING_STEPS: Final = 4  # after which a shift has turned to where it grows
FOLLOWED_STEPS: Final = 16  # of one shift, these included


@dataclass(frozen=True)
class FollowedShift:
    """A shift where it stands.

    Attributes:
        step: the step before which it stands.
        distance: tree like the state; None before the first step, where it is drawn at random.
        taken: steps that it was followed through.
        growths: logarithms of its growth in those steps in which it had turned.
    """

    step: int
    distance: Tree = None
    taken: int = 0
    growths: tuple[float, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it was followed far enough."""
        return self.taken >= FOLLOWED_STEPS

    def follow_step(
        self,
        problem: Problem,
        state: Tree,
        next_state: Tree,
        evaluate: EvaluateApart,
    ) -> FollowedShift:
        """Return the shift after a step, as long as before; over where nothing is left of it.

        Args:
            problem: the process, in rows.
            state: the accepted state that it is a shift of.
            next_state: the accepted state after the step.
            evaluate: evaluates a step.
        """
        distance = self.distance if self.taken else _draw_shift(state, self.step)
        shifted = shift_state(state, distance, 1.0)
        (end,) = advance_shifted(problem, evaluate, [self.step], [shifted])
        size, end_size = measure_rows(problem, shifted, state), measure_rows(problem, end, next_state)
        if not (0 < size < inf and 0 < end_size < inf):
            return replace(self, taken=FOLLOWED_STEPS)
        growths = self.growths
        if self.taken >= ALIGNING_STEPS:
            growths = (*growths, log(end_size / size))
        distance = scale_distance(subtract_states(end, next_state), size / end_size)
        return FollowedShift(self.step + 1, distance, self.taken + 1, growths)


def _draw_shift(state: Tree, seed: int) -> Tree:
    """Return a random shift of a state."""
    direction = draw_direction(state, seed)
    return subtract_states(shift_state(state, direction, SMALLEST_SHIFT), state)
