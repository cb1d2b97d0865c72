"""Distances of states in the norm of a tolerance, with the leaves that `observe` leaves out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance


def measure_state_distance(
    problem: Problem,
    tolerance: Tolerance,
    step: int,
    *,
    state: Tree,
    other: Tree,
) -> Tensor:
    """Return the distance `(*batch,)` of another state from one, in the norm of the tolerance.

    It is the largest over the input and, where the whole state is the answer, every leaf that is left out of it.
    """
    steps = problem.step_range(step, step + 1)
    row = problem.observe(state)
    distance = tolerance.norm(steps, (problem.observe(other) - row).unsqueeze(0), row.unsqueeze(0))[0]
    if not problem.process.counts_whole_state or state is other:
        return distance
    for leaf, other_leaf in _list_hidden_leaves(problem, state, other):
        hidden_row = _read_row(leaf, row)
        moves = _read_row(other_leaf, row) - hidden_row
        hidden = tolerance.norm(steps, moves.unsqueeze(0), hidden_row.unsqueeze(0))[0]
        distance = torch.maximum(distance, hidden.to(distance.dtype))
    return distance


def _list_hidden_leaves(
    problem: Problem,
    state: Tree,
    other: Tree,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the tensors of both states whose memory `observe` does not show."""
    observed = {_address(leaf) for leaf in tree_tensors(problem.process.observe(state))}
    for leaf, other_leaf in zip(tree_tensors(state), tree_tensors(other), strict=True):
        if leaf.numel() and _address(leaf) not in observed:
            yield leaf, other_leaf


def _address(leaf: Tensor) -> int:
    return leaf.untyped_storage().data_ptr()


def _read_row(leaf: Tensor, row: Tensor) -> Tensor:
    """Return a leaf as a row `(*batch, n)` in double precision; one without the batch belongs to every sample."""
    if leaf.is_complex():
        leaf = torch.view_as_real(leaf)
    batch = row.shape[:-1]
    values = leaf.detach().double()
    if leaf.shape[: len(batch)] == batch:
        return values.reshape(*batch, -1)
    return values.reshape(-1).expand(*batch, -1)


def largest_size(sizes: Tensor) -> float:
    """Return the largest of some sizes, infinite where one is not a number, 0 where there are none."""
    if not sizes.numel():
        return 0.0
    return float(sizes.nan_to_num(torch.inf, torch.inf).max())
