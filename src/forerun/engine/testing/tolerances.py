"""check_tolerance: whether a tolerance keeps its contract."""

from __future__ import annotations

from math import inf, nan

import torch
from torch import Tensor

from forerun.engine.testing.agreement import is_close, require
from forerun.engine.tolerance import Tolerance


@torch.no_grad()
def check_tolerance(tolerance: Tolerance, *, inputs: Tensor | None = None) -> None:
    """Check that a tolerance keeps its contract: a size for every step and sample, which nothing infinite passes.

    Args:
        tolerance: the tolerance.
        inputs: `(W, B, D)` that it can measure; None for numbers of order one.

    Raises:
        ContractBroken: it does not.
    """
    if inputs is None:
        inputs = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(5, 2, 6)
    steps = torch.arange(len(inputs))
    moves = 0.1 * inputs.flip(-1).abs() + 0.01
    sizes = tolerance.norm(steps, moves, inputs)
    require(
        sizes.shape == inputs.shape[:2],
        f"norm gave a shape of {list(sizes.shape)} for moves of {list(moves.shape)}; give one size a step and sample",
    )
    require(
        bool((sizes > 0).all()),
        "norm gave a size that is not positive, of a move that is not zero",
    )
    require(
        bool((tolerance.norm(steps, 2 * moves, inputs) > sizes).all()),
        "norm gave no larger size for a move twice as large",
    )
    require(
        bool((tolerance.norm(steps, 0 * moves, inputs) == 0).all()),
        "norm gave a size other than zero for a step that did not move",
    )
    require(
        is_close(tolerance.norm(steps[1:2], moves[1:2], inputs[1:2]), sizes[1:2], 1e-9),
        "norm gave one step another size than all steps together; measure every step by itself",
    )
    _check_thresholds(tolerance, steps, moves, inputs)


def _check_thresholds(
    tolerance: Tolerance,
    steps: Tensor,
    moves: Tensor,
    inputs: Tensor,
) -> None:
    """Check that nothing infinite passes the threshold, of this round and the next."""
    threshold = tolerance.threshold()
    require(
        0 <= threshold < inf,
        f"threshold gave {threshold}; give a number that is not negative",
    )
    for value in (nan, inf):
        sizes = tolerance.norm(steps, moves.where(moves > moves.min(), value), inputs)
        rows = (moves == moves.min()).any(-1)
        require(
            not bool((sizes[rows] <= threshold).any()),
            f"a move of {value} passes the threshold; let it through norm as it is",
        )
    next_threshold = tolerance.follow(threshold, [0.0, threshold, 2 * threshold])
    require(
        0 <= next_threshold < inf,
        f"follow gave {next_threshold} after small residuals; give the threshold of the next round",
    )
