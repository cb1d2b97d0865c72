"""The shadow: the state where the sequential run is estimated to be, and how it follows the accepted steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem


def advance_shadow(
    problem: Problem,
    shadow: Tree,
    *,
    update: WindowUpdate,
    defects: Tensor,
    jacobian: Jacobian,
) -> Tree:
    """Return the shadow after as many steps as there are defects, by the process's own `advance`.

    Args:
        problem: the process, in rows.
        shadow: at the first step of the window.
        update: the window's update.
        defects: `r`, `(n, *batch, E)`.
        jacobian: `J`, of the same steps.
    """
    count = len(defects)
    steps = zip(
        update.inputs[:count].unbind(),
        update.outputs[:count].unbind(),
        defects.unbind(),
        jacobian.split_steps(),
        strict=True,
    )
    for index, (accepted_input, output, defect, step_jacobian) in enumerate(steps):
        distance = problem.observe(shadow) - accepted_input
        correction = step_jacobian.multiply_moves(distance.unsqueeze(0))[0]
        shadow = problem.advance(update.evaluations.start + index, shadow, output + defect + correction)
    return shadow


def carry_distance(shadow: Tree, state: Tree, next_state: Tree) -> Tree:
    """Return `next_state + (shadow - state)`, in what is not whole numbers."""

    def carry_leaf(next_leaf: Any, shadow_leaf: Any, leaf: Any) -> Any:
        if isinstance(next_leaf, Tensor) and next_leaf.is_floating_point():
            return next_leaf + (shadow_leaf - leaf)
        return next_leaf

    return pytree.tree_map(carry_leaf, next_state, shadow, state)
