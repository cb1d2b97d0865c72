"""CarriedDistance: the shadow's distance carried through steps that were taken in order, from their exact states.

Such steps show nothing of their slopes. At a few of them the state is shifted as the shadow is and the step taken
again; the distance grows in the others as it does there. A thorough check takes every one of them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final

from torch.utils import _pytree as pytree

from forerun.engine.check.accepted_path import CarriedSteps
from forerun.engine.check.sampled_steps import (
    LARGEST_EXPONENT,
    SMALLEST_SHIFT,
    EvaluateApart,
    advance_shifted,
    draw_steps,
    measure_growth,
    measure_rows,
    shift_state,
    subtract_states,
)
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem

EXACT_STEPS_A_SAMPLE: Final = 16  # of which one is sampled, where a drift is carried through exact steps
SMALLEST_DISTANCE: Final = 1e-300  # of a distance
LARGEST_GROWTH: Final = 1e30  # of a distance in one step


@dataclass(frozen=True)
class CarriedDistance:
    """A distance after some exact steps.

    Attributes:
        distance: tree like the state.
        log_growth: logarithm of how much it grew in a step, where that was sampled last; None where it never was.
        log_gain: logarithm of how much it grew in all of the steps.
    """

    distance: Tree
    log_growth: float | None
    log_gain: float


def carry_distance(
    problem: Problem,
    start: int,
    states: Sequence[Tree],
    *,
    distance: Tree,
    log_growth: float | None,
    evaluate: EvaluateApart,
    steps_a_sample: int = EXACT_STEPS_A_SAMPLE,
) -> CarriedDistance:
    """Carry a distance through exact steps as it grows in a few of them.

    It is not taken to shrink: one direction does not show what is left in the others.

    Args:
        problem: the process, in rows.
        start: the first step.
        states: the exact states, from that of the first step to that after the last.
        distance: of the shadow from the first state.
        log_growth: of a step, as it was sampled last.
        evaluate: evaluates a few steps.
        steps_a_sample: steps of which one is sampled.
    """
    count = len(states) - 1
    size = _measure_shift(problem, states[0], distance)
    minimum = 0 if log_growth is not None and count < steps_a_sample else 1
    steps = draw_steps(start, count, 1 / steps_a_sample, least=minimum)
    if size > 0 and steps:
        factor = _choose_factor(problem, states[0], size)
        shifted = [shift_state(states[step - start], distance, factor) for step in steps]
        ends = advance_shifted(problem, evaluate, steps, shifted)
        logarithms = []
        for step, shifted_state, end in zip(steps, shifted, ends, strict=True):
            shift = measure_rows(problem, shifted_state, states[step - start])
            growth = measure_rows(problem, end, states[step - start + 1])
            logarithms.append(log(min(max(measure_growth(shift, growth), 1.0), LARGEST_GROWTH)))
        log_growth = sum(logarithms) / len(logarithms)
        if 0 < growth < inf:
            turned = subtract_states(ends[-1], states[steps[-1] - start + 1])
            distance = scale_distance(turned, size / growth)
    log_gain = min(count * (log_growth or 0.0), LARGEST_EXPONENT)
    return CarriedDistance(scale_distance(distance, exp(log_gain)), log_growth, log_gain)


def carry_closely(
    problem: Problem,
    start: int,
    states: Sequence[Tree],
    *,
    distance: Tree,
    evaluate: EvaluateApart,
) -> CarriedDistance:
    """Carry a distance through exact steps by taking each of them again from the shifted state, in order.

    Args:
        problem: the process, in rows.
        start: the first step.
        states: the exact states, from that of the first step to that after the last.
        distance: of the shadow from the first state.
        evaluate: evaluates a step.
    """
    first_size = size = _measure_shift(problem, states[0], distance)
    for index in range(len(states) - 1):
        if not 0 < size < inf:
            break
        factor = _choose_factor(problem, states[index], size)
        shifted = shift_state(states[index], distance, factor)
        (end,) = advance_shifted(problem, evaluate, [start + index], [shifted])
        distance = scale_distance(subtract_states(end, states[index + 1]), 1 / factor)
        size = _measure_shift(problem, states[index + 1], distance)
    log_gain = 0.0
    if first_size > 0 and 0 < size < inf:
        log_gain = log(size / first_size)
    return CarriedDistance(distance, None, log_gain)


def carry_as_before(problem: Problem, steps: CarriedSteps, shadow: Tree) -> Tree:
    """Return the shadow after steps that were taken in order, whose distance grows as it did when they were taken."""
    distance = subtract_states(shadow, steps.first_state)
    size = _measure_shift(problem, steps.first_state, distance)
    size_before = _measure_shift(problem, steps.first_state, steps.first_distance)
    if size_before > 0:
        return shift_state(steps.end_state, steps.end_distance, min(size / size_before, LARGEST_GROWTH))
    return shift_state(steps.end_state, distance, exp(min(steps.log_gain, LARGEST_EXPONENT)))


def scale_distance(distance: Tree, factor: float) -> Tree:
    """Return a distance times a factor."""
    return pytree.tree_map(lambda leaf: leaf * factor, distance)


def _measure_shift(problem: Problem, state: Tree, distance: Tree) -> float:
    """Return the size of a distance from a state, in what is observed."""
    return measure_rows(problem, shift_state(state, distance, 1.0), state)


def _choose_factor(problem: Problem, state: Tree, size: float) -> float:
    """Return by what to multiply a distance of this size, so that it does not drown in the rounding of a state."""
    state_size = float(problem.observe(state).double().norm())
    return max(1.0, SMALLEST_SHIFT * state_size / max(size, SMALLEST_DISTANCE))
