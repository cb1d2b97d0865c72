"""CarriedDistance: the shadow's distance carried through steps that were taken in order, from their exact states.

Such steps show nothing of their slopes. At a few of them the state is shifted as the shadow is and the step taken
again; the distance grows in the others as it does there. A thorough check takes every one of them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Final

import torch
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
STEPS_TO_COMPARE: Final = 6  # below which no step stands out
ELEMENTS_OF_STATES: Final = 2**20  # of some states, up to which their moves are compared
STEPS_A_JUMP: Final = 32  # of which one may be
JUMP_FACTOR: Final = 6.0  # times the median of the moves, beyond which a step is a jump
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
    if not size > 0 or not steps:
        log_gain = min(count * (log_growth or 0.0), LARGEST_EXPONENT)
        return CarriedDistance(scale_distance(distance, exp(log_gain)), log_growth, log_gain)
    jumps = find_jumps(problem, start, states)
    steps = sorted({*steps, *jumps})
    factor = _choose_factor(problem, states[0], size)
    shifted = [shift_state(states[step - start], distance, factor) for step in steps]
    ends = advance_shifted(problem, evaluate, steps, shifted)
    pairs = [states[step - start : step - start + 2] for step in steps]
    logarithms, end_size = _measure_log_growths(problem, pairs, shifted, ends)
    log_growth, log_gain = _extend_growth(dict(zip(steps, logarithms, strict=True)), jumps, count)
    if 0 < end_size < inf:
        turned = subtract_states(ends[-1], states[steps[-1] - start + 1])
        distance = scale_distance(turned, size / end_size)
    return CarriedDistance(scale_distance(distance, exp(log_gain)), log_growth, log_gain)


def _extend_growth(
    logarithms: Mapping[int, float],
    jumps: Sequence[int],
    count: int,
) -> tuple[float, float]:
    """Return the mean growth of a step that is not a jump, and the growth of all `count` steps, as logarithms."""
    others = [logarithm for step, logarithm in logarithms.items() if step not in jumps]
    log_growth = sum(others) / max(len(others), 1)
    of_jumps = sum(logarithms.values()) - sum(others)
    return log_growth, min((count - len(jumps)) * log_growth + of_jumps, LARGEST_EXPONENT)


def _measure_log_growths(
    problem: Problem, pairs: Sequence[Sequence[Tree]], shifted: Sequence[Tree], ends: Sequence[Tree]
) -> tuple[list[float], float]:
    """Return logarithms of the growth of shifts in some steps, never below zero, and the last shift's size after it.

    Args:
        problem: the process, in rows.
        pairs: the states before and after each step.
        shifted: the shifted states before it.
        ends: the shifted states after it.
    """
    logarithms = []
    end_size = 0.0
    for (state, next_state), shifted_state, end in zip(pairs, shifted, ends, strict=True):
        size = measure_rows(problem, shifted_state, state)
        end_size = measure_rows(problem, end, next_state)
        logarithms.append(log(min(max(measure_growth(size, end_size), 1.0), LARGEST_GROWTH)))
    return logarithms, end_size


def find_jumps(
    problem: Problem,
    start: int,
    states: Sequence[Tree],
) -> list[int]:
    """Return the few steps that move the state much farther than most do, by its size: they may amplify as much."""
    if len(states) < STEPS_TO_COMPARE or len(states) * problem.input_layout.width > ELEMENTS_OF_STATES:
        return []
    rows = torch.stack([problem.observe(state) for state in states]).double().reshape(len(states), -1)
    smallest = torch.finfo(rows.dtype).tiny
    sizes = torch.linalg.vector_norm(rows, dim=1).clamp_min(smallest)
    moves = torch.linalg.vector_norm(rows[1:] - rows[:-1], dim=1) / sizes[:-1]
    count = max(len(moves) // STEPS_A_JUMP, 1)
    largest = moves.topk(count)
    is_jump = largest.values > JUMP_FACTOR * moves.median()
    return [start + index for index in largest.indices[is_jump].tolist()]


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


def carry_as_before(
    problem: Problem,
    steps: CarriedSteps,
    shadow: Tree,
) -> Tree:
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


def _measure_shift(
    problem: Problem,
    state: Tree,
    distance: Tree,
) -> float:
    """Return the size of a distance from a state, in what is observed."""
    return measure_rows(problem, shift_state(state, distance, 1.0), state)


def _choose_factor(
    problem: Problem,
    state: Tree,
    size: float,
) -> float:
    """Return by what to multiply a distance of this size, so that it does not drown in the rounding of a state."""
    state_size = float(problem.observe(state).double().norm())
    return max(1.0, SMALLEST_SHIFT * state_size / max(size, SMALLEST_DISTANCE))
