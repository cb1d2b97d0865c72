"""Tangents: the outputs of a round together with their derivatives along some directions."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.rows import Problem


def evaluate_tangents(
    problem: Problem,
    steps: Tensor,
    inputs: Tensor,
    *,
    directions: Tensor,
    difference: float | None,
) -> tuple[Tensor, Tensor]:
    """Return outputs `(W, *batch, E)` and derivatives `J z` `(K, W, *batch, E)` along `z` `(K, W, *batch, D)`.

    Steps and samples do not see each other, so that one direction serves all of them at once.

    Args:
        problem: what is differentiated.
        steps: int64 `(W,)`.
        inputs: `(W, *batch, D)`.
        directions: as long as `sqrt(D)` where differences shall be well scaled.
        difference: None for forward-mode differentiation; otherwise `(f(u + h z) - f(u)) / h`, all in one
            call of evaluate, with `h` this number times the root mean square of the sample's input.

    Raises:
        RuntimeError: evaluate cannot be differentiated in forward mode.
    """
    if difference is not None:
        return _take_differences(problem, steps, inputs, directions=directions, difference=difference)
    try:
        return _differentiate_forward(problem, steps, inputs, directions)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RuntimeError(
            f"evaluate failed while torch.func.jvp differentiated it: {error}. Fused attention, custom "
            "autograd.Functions, torch.autograd.grad and compiled code often have no forward derivative; pass "
            "difference=1e-3 to the method, which then takes finite differences and needs none, or use Secant()"
        ) from error


def _differentiate_forward(
    problem: Problem, steps: Tensor, inputs: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    def evaluate_rows(rows: Tensor) -> Tensor:
        return problem.evaluate(steps, rows)

    def push_direction(direction: Tensor) -> tuple[Tensor, Tensor]:
        outputs, tangent, *_ = torch.func.jvp(evaluate_rows, (inputs,), (direction,))
        return outputs, tangent

    if len(directions) == 1:  # spares evaluate the need to work under vmap
        outputs, tangent = push_direction(directions[0])
        return outputs, tangent.unsqueeze(0)
    outputs, tangents = torch.func.vmap(push_direction)(directions)
    return outputs[0], tangents


def _take_differences(
    problem: Problem,
    steps: Tensor,
    inputs: Tensor,
    *,
    directions: Tensor,
    difference: float,
) -> tuple[Tensor, Tensor]:
    rms = inputs.square().mean(-1, keepdim=True).sqrt()
    h = difference * torch.where(rms > 0, rms, 1.0)
    count = len(directions) + 1
    points = torch.cat([inputs.unsqueeze(0), inputs + h * directions])
    # all rows of a step stand together, as steps must ascend
    rows = points.transpose(0, 1).flatten(0, 1)
    evaluated = problem.evaluate(steps.repeat_interleave(count), rows)
    outputs = evaluated.unflatten(0, (len(steps), count)).transpose(0, 1)
    return outputs[0], (outputs[1:] - outputs[0]) / h
