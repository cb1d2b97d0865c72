"""Distances of states in the norm of a tolerance."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance


def measure_state_distance(problem: Problem, tolerance: Tolerance, step: int, *, state: Tree, other: Tree) -> Tensor:
    """Return the distance `(*batch,)` of another state from one, in the norm of the tolerance."""
    state_input = problem.observe(state).unsqueeze(0)
    moves = problem.observe(other).unsqueeze(0) - state_input
    return tolerance.norm(problem.step_range(step, step + 1), moves, state_input)[0]


def largest_size(sizes: Tensor) -> float:
    """Return the largest of some sizes, infinite where one is not a number, 0 where there are none."""
    if not sizes.numel():
        return 0.0
    return float(sizes.nan_to_num(torch.inf, torch.inf).max())
