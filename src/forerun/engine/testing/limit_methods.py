"""check_limit_method: whether a method for limits keeps its contract."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import LimitMethod
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.testing.agreement import is_close, require

LimitProblems = list[tuple[Map, Tree]]

LIMIT_TOLERANCE = 1e-9
LIMIT_DISTANCE = 1e-6


@torch.no_grad()
def check_limit_method(method: LimitMethod, *, problems: LimitProblems | None = None) -> None:
    """Check that a method keeps its contract: it finds limits, of each problem by itself, and keeps nothing for itself.

    Args:
        method: the method.
        problems: maps and first states that it is for; None for some small ones in double precision.

    Raises:
        ContractBroken: it does not; the message says which part.
        NoLimit: it finds none.
    """
    for user_map, state in problems or small_maps():
        limit = fixed_point(user_map, state, method=method, tolerance=LIMIT_TOLERANCE)
        require(
            are_close(user_map.evaluate(limit.state), limit.state, LIMIT_DISTANCE),
            "the method ended at a state that the map does not leave as it is; measure the residual of what you return",
        )
        again = fixed_point(user_map, state, method=method, tolerance=LIMIT_TOLERANCE)
        require(
            are_close(limit.state, again.state, 0.0),
            "a second search gave another answer; keep everything in the memory that is handed on",
        )
    _check_problems_are_apart(method)


def are_close(one: Tree, other: Tree, share: float) -> bool:
    """Return whether the tensors of two trees agree to a share of their sizes."""
    pairs = zip(tree_tensors(one), tree_tensors(other), strict=True)
    return all(is_close(first, second, share) for first, second in pairs)


def _check_problems_are_apart(method: LimitMethod) -> None:
    """Check that a problem of a batch is solved as it would be alone."""
    rates = torch.tensor([0.2, 0.7], dtype=torch.float64)
    turn = torch.linspace(0, 1, 9, dtype=torch.float64).reshape(3, 3).cos() / 3

    def evaluate(x: Tensor) -> Tensor:
        return rates[-len(x) :, None] * torch.tanh(x @ turn) + 1

    start = torch.zeros(2, 3, dtype=torch.float64)
    together = fixed_point(evaluate, start, method=method, batch_dims=1, tolerance=LIMIT_TOLERANCE)
    alone = fixed_point(evaluate, start[1:], method=method, batch_dims=1, tolerance=LIMIT_TOLERANCE)
    require(
        is_close(together.state[1:], alone.state, LIMIT_DISTANCE),
        "a problem of a batch ended elsewhere than alone; treat every row by itself",
    )


def small_maps() -> LimitProblems:
    """Return contractions of a few numbers, and their first states, in double precision."""
    weight = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4) / 4
    shift = torch.linspace(0, 1, 4, dtype=torch.float64)
    affine = Map.from_function(lambda x: weight @ x + shift)
    smooth = Map.from_function(lambda x: 0.7 * torch.tanh(weight @ x) + shift)
    return [(affine, torch.zeros_like(shift)), (smooth, torch.zeros_like(shift))]
