"""Sampled steps: which accepted steps are evaluated again, and what a shift of their states becomes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem

EvaluateApart = Callable[[Tensor, Tensor], Tensor]  # (steps, input rows) -> output rows, outside the rounds

LOW_BITS: Final = 2**64 - 1
SAMPLED_SHARE: Final = 0.06  # of the accepted steps: some 2 % of what a run evaluates
SINGLE_SHARE: Final = 0.03  # of the accepted steps, evaluated singly
LARGEST_EXPONENT: Final = 60.0  # of e
FARTHEST_SLOPE: Final = 0.1  # of the size of an input, beyond which a slope is another one
SMALLEST_SHIFT: Final = 1e-4  # of the size of a state, by which it is shifted at least: less drowns in rounding


def draw_steps(
    start: int,
    count: int,
    share: float,
    *,
    least: int = 0,
) -> list[int]:
    """Return random steps of `start .. start+count-1`, ascending: the same ones on every rank.

    Args:
        start: the first step.
        count: number of steps to choose from.
        share: how many of them on average.
        least: how many at least.
    """
    chance = random.Random(start * 1_000_003 + count)
    expected = share * count
    number = int(expected) + (chance.random() < expected % 1)
    number = min(max(number, least), count)
    return sorted(chance.sample(range(start, start + count), number))


def choose_samples(
    start: int,
    stop: int,
    share: float,
) -> list[int]:
    """Return random steps of `start .. stop-1`, ascending: one of every `1 / share`, the same ones on every rank.

    Whatever the rounds, a step is among them or not: it costs no generator to ask.
    """
    steps: list[int] = []
    for stratum in range(int(start * share), int(stop * share) + 1):
        step = int((stratum + _mix_bits(stratum)) / share)
        if start <= step < stop and step not in steps[-1:]:
            steps.append(step)
    return steps


def _mix_bits(number: int) -> float:
    """Return a number in [0, 1) that is as good as random (Steele, Lea and Flood 2014, SplitMix)."""
    bits = (number + 1) * 0x9E3779B97F4A7C15 & LOW_BITS
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & LOW_BITS
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & LOW_BITS
    return ((bits ^ (bits >> 31)) >> 11) / 2**53


def share_of_steps(length: int, most: int) -> float:
    """Return the share that samples at most `most` of `length` steps, and no more than what a check may cost."""
    return min(most / max(length, 1), SINGLE_SHARE)


def sampled_share(length: int) -> float:
    """Return the share of the accepted steps that are evaluated again: some three at least."""
    return min(max(SAMPLED_SHARE, 3 / max(length, 1)), 1.0)


def shift_state(
    state: Tree,
    direction: Tree,
    factor: Any,
) -> Tree:
    """Return `state + factor * direction`, in what are floating numbers."""

    def shift_leaf(leaf: Any, direction_leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            return leaf + factor * direction_leaf
        return leaf

    return pytree.tree_map(shift_leaf, state, direction)


def subtract_states(left: Tree, right: Tree) -> Tree:
    """Return `left - right`, in what are floating numbers; zero in all else."""

    def subtract_leaf(left_leaf: Any, right_leaf: Any) -> Any:
        if isinstance(left_leaf, Tensor) and left_leaf.is_floating_point():
            return left_leaf - right_leaf
        return 0

    return pytree.tree_map(subtract_leaf, left, right)


def draw_direction(state: Tree, seed: int) -> Tree:
    """Return random numbers shaped like a state, each leaf of the size of its own."""
    generator = torch.Generator().manual_seed(seed)

    def draw_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return 0
        noise = torch.randn(leaf.shape, generator=generator).to(leaf)
        return noise * leaf.square().mean().sqrt()

    return pytree.tree_map(draw_leaf, state)


def advance_shifted(
    problem: Problem,
    evaluate: EvaluateApart,
    steps: Sequence[int],
    states: Sequence[Tree],
) -> list[Tree]:
    """Return the states after one step each, evaluated in one call."""
    inputs = torch.stack([problem.observe(state) for state in states])
    outputs = evaluate(torch.tensor(steps, device=inputs.device), inputs)
    pairs = zip(steps, states, outputs, strict=True)
    return [problem.advance(step, state, output) for step, state, output in pairs]


def measure_rows(
    problem: Problem,
    left: Tree,
    right: Tree,
) -> float:
    """Return the Euclidean distance of two states in what is observed, over all samples; scaled against underflow."""
    rows = (problem.observe(left) - problem.observe(right)).double().flatten()
    return float(torch.linalg.vector_norm(rows)) if rows.numel() else 0.0


def measure_growth(shift: float, next_shift: float) -> float:
    """Return the factor by which a shift grows in a step; a step that loses it halves it, to stay on the safe side."""
    if not shift > 0:
        return 1.0
    if not next_shift < float("inf"):
        return float("inf")
    return max(next_shift / shift, 0.5)
