"""The walk of the shadow beside accepted steps without a closed form, by the process's own `advance`."""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import Tensor

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.step_samples import measure_factor
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem


def walk_beside(
    problem: Problem,
    state: Tree,
    update: WindowUpdate,
    *,
    defects: Tensor,
    jacobian: Jacobian,
    drawn_steps: Set[int],
) -> tuple[Tree, Tensor, Tensor]:
    """Return the state after the walk, the distances `(n + 1, *batch, D)`, and how outputs enter next inputs.

    Args:
        problem: the process, in rows.
        state: where the shadow stands, before the first step of the window.
        update: what the method made of the window.
        defects: `r`, `(n, *batch, E)`.
        jacobian: the estimates of the steps.
        drawn_steps: those at which it is measured how an output enters the next input.
    """
    count = len(defects)
    accepted_inputs = update.inputs[:count]
    steps = zip(
        accepted_inputs.unbind(),
        update.outputs[:count].unbind(),
        defects.unbind(),
        jacobian.split_steps(),
        strict=True,
    )
    distances = []
    factors = torch.ones_like(defects[..., :1])
    for index, (accepted_input, output, defect, step_jacobian) in enumerate(steps):
        distance = problem.observe(state) - accepted_input
        distances.append(distance)
        change = defect + step_jacobian.multiply_moves(distance.unsqueeze(0))[0]
        step = update.evaluations.start + index
        if step in drawn_steps:
            factors[index] = _measure_response(problem, step, state, output=output, change=change)
        state = problem.advance(step, state, output + change)
    distances.append(problem.observe(state) - update.inputs[count])
    return state, torch.stack(distances), factors


def _measure_response(
    problem: Problem,
    step: int,
    state: Tree,
    *,
    output: Tensor,
    change: Tensor,
) -> Tensor:
    """Return the factor by which a change of a step's output enters the next input."""
    plain = problem.observe(problem.advance(step, state, output))
    changed = problem.observe(problem.advance(step, state, output + change))
    return measure_factor(changed - plain, change)
