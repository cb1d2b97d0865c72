"""Newton: the full Jacobian of every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowState
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod
from forerun.engine.methods.tangents import evaluate_tangents
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem

COLUMNS_AT_ONCE: Final = 32  # of the Jacobian: beyond, memory grows and time does not fall


@dataclass(frozen=True)
class Newton(SlopeMethod):
    """The derivative of every output with respect to its own input, at the guess.

        S_i = J_i = d evaluate(i, u) / du  at  u = u_i

    DEER (Lim et al., arXiv 2309.12252) for processes whose output is the next state. Quadratic at
    the end: an affine process needs two rounds. A round costs `D + 1` evaluations, `D E` numbers a step to store
    and, where `advance` is affine, a scan of `D x D` matrices: for states of up to a hundred or so elements. A
    step whose Jacobian is not finite goes without, and so do all where outputs are not as wide as inputs.

    Args:
        linear: takes steps `(W,)` and an input tree with a leading axis of `W`, and returns what `evaluate` does and
            rows of Jacobians `(W, *batch, E, D)`; a round then costs 2 evaluations. None for `torch.func.jvp` along
            the axes.
        difference: finite differences instead of `torch.func.jvp`, of this size relative to the input; 1e-3 is
            right in float32. For what cannot be differentiated in forward mode.
        max_bytes: what the Jacobians of a window may take.

    Raises:
        ValueError: the Jacobians would take more than `max_bytes`, or `linear` returned another shape.
        RuntimeError: evaluate cannot be differentiated in forward mode.
    """

    linear: Callable[[Tensor, Tree], tuple[Tree, Tensor]] | None = None
    difference: float | None = None
    max_bytes: int = 2**31

    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        self._refuse_large_jacobians(window_state.inputs)
        problem = window_state.problem
        width = window_state.inputs.shape[-1]
        if width == 0:  # nothing to differentiate by
            return SlopedOutputs(evaluate(window_state.steps, window_state.inputs))
        differentiate, cost = self._differentiate_axes, width + 1
        if self.linear is not None:
            differentiate, cost = self._call_linear, 2

        def evaluate_rows(steps: Tensor, inputs: Tensor) -> Tensor:
            return _join_rows(*differentiate(problem, steps, inputs))

        rows = evaluate(
            window_state.steps,
            window_state.inputs,
            evaluate_rows,
            cost,
        )
        height = rows.shape[-1] // (1 + width)
        outputs = rows[..., :height]
        if height != width:
            return SlopedOutputs(outputs)
        J = rows[..., height:].unflatten(-1, (height, width))
        is_lost = J.sum((-2, -1), keepdim=True).isfinite().logical_not()
        return SlopedOutputs(outputs, J.masked_fill_(is_lost, 0.0))

    def _differentiate_axes(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and Jacobians, by tangents along the axes."""
        width = inputs.shape[-1]
        axes = torch.eye(width, dtype=inputs.dtype, device=inputs.device)
        columns = []
        for chunk in axes.split(COLUMNS_AT_ONCE):
            directions = chunk.reshape(-1, *[1] * (inputs.dim() - 1), width).expand(-1, *inputs.shape)
            outputs, tangents = evaluate_tangents(
                problem,
                steps,
                inputs,
                directions=directions,
                difference=self.difference,
            )
            columns.append(tangents)
        return outputs, torch.cat(columns).movedim(0, -1)

    def _call_linear(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and Jacobians, as the user's `linear` gives them."""
        assert self.linear is not None
        output_tree, J = self.linear(steps, problem.input_layout.unpack(inputs))
        outputs = problem.pack_outputs(output_tree, len(steps))
        expected = (*outputs.shape, inputs.shape[-1])
        if J.shape != expected:
            raise ValueError(
                f"linear returned Jacobians of shape {list(J.shape)}, but the rows d output / d input of "
                f"{len(steps)} steps have the shape {list(expected)} = (W, *batch, E, D), with the tensors of a tree "
                "flattened one after the other; return that shape"
            )
        return outputs, J.to(inputs.dtype)

    def _refuse_large_jacobians(self, inputs: Tensor) -> None:
        width = inputs.shape[-1]
        required = inputs.numel() * width * inputs.element_size()
        if required > self.max_bytes:
            raise ValueError(
                f"Newton() needs {required / 2**30:.3g} GiB for the Jacobians of {len(inputs)} steps and "
                f"{inputs[0, ..., 0].numel()} samples, {width} x {width} numbers each, but max_bytes allows "
                f"{self.max_bytes / 2**30:.3g} GiB; use method=QuasiNewton() or Secant(), or a smaller window"
            )


def _join_rows(outputs: Tensor, J: Tensor) -> Tensor:
    """Return rows `(W, *batch, E + E D)`, with the elements first in memory where those of the Jacobians are."""
    if J.stride(-1) == 1:
        return torch.cat([outputs, J.flatten(-2)], -1)
    output_columns = outputs.movedim(-1, 0)
    jacobian_columns = J.movedim((-2, -1), (0, 1)).flatten(0, 1)
    return torch.cat([output_columns, jacobian_columns]).movedim(0, -1)
