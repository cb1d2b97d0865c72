"""A recurrence as a Process, its adjoint as another, and the gradient through the solution of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Affine, Process
from forerun.engine.rows import apply_slopes
from forerun.sequence.recurrent.cells import Cell


@final
class Recurrence(Process):
    """`h_{i+1} = f(h_i, x_i)`; state, input and output are rows `(*batch, D)` of hidden state.

    Args:
        cell: `f`.
        prepared: what it made of the inputs, `(T, *batch, ...)`.
        length: `T`.
    """

    batch_dims = 1

    def __init__(self, cell: Cell, prepared: Tree, length: int) -> None:
        self.length = length
        self._cell, self._prepared = cell, prepared

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._cell.step(inputs, self._at(steps))

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=0.0, output=1.0)

    def linear(self, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """For `Newton(linear)`: outputs, and Jacobians `(W, *batch, D, D)`."""
        return self._cell.linear(inputs, self._at(steps))

    def _at(self, steps: Tensor) -> Tree:
        first, last = int(steps[0]), int(steps[-1])
        if last - first + 1 == len(steps):  # a view, where the window is whole
            return tree_map(lambda leaf: leaf[first : last + 1], self._prepared)
        return tree_map(lambda leaf: leaf[steps], self._prepared)


@final
class AdjointRecurrence(Process):
    """Backpropagation through a recurrence as a path: `l_{t} = g_{t} + J_{t+1}^T l_{t+1}`, from the last step back.

    State, input and output are costates `(*batch, D)`; the output is `J^T l`, by vector-Jacobian products of all
    steps in one call, and `advance` adds the gradient. Affine: `Newton` needs one round, `Jacobi` as many as gradients
    live (Song et al., arXiv 2002.03629, the first experiment).

    Args:
        cell: of the recurrence.
        hidden: rows `h_1 .. h_{T-1}` that it was at, `(T - 1, *batch, D)`.
        prepared: what the cell made of the inputs `x_1 .. x_{T-1}`.
        gradients: of the loss by `h_1 .. h_{T-1}` (the state begins with that by `h_T`), `(T - 1, *batch, D)`.
    """

    batch_dims = 1

    def __init__(self, cell: Cell, hidden: Tensor, prepared: Tree, gradients: Tensor) -> None:
        self.length = len(hidden)
        self._cell, self._hidden, self._prepared, self._gradients = cell, hidden, prepared, gradients

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        places = self.length - 1 - steps
        at = tree_map(lambda leaf: leaf[places], self._prepared)
        with torch.enable_grad():
            pull = torch.func.vjp(lambda rows: self._cell.step(rows, at), self._hidden[places])[1]
        pulled: Tensor = pull(inputs)[0]
        return pulled

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return self._gradients[self.length - 1 - step] + output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=0.0, output=1.0, shift=self._gradients[self.length - 1 - steps])

    def linear(self, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """For `Newton(linear)`: outputs, and the transposed Jacobians `(W, *batch, D, D)`."""
        places = self.length - 1 - steps
        at = tree_map(lambda leaf: leaf[places], self._prepared)
        J = self._cell.linear(self._hidden[places], at)[1].mT
        return apply_slopes(J, inputs), J


def differentiable(stepped: Tensor, jacobian: Callable[[int, int], Tensor], span: int) -> Tensor:
    """`stepped` as a function of all steps before: its gradient is carried back by one reverse scan.

    By the implicit function theorem, at a path with `h_{t+1} = f(h_t, x_t)` the gradients `g` of a loss by the path
    become costates `l_t = g_t + J_{t+1}^T l_{t+1}`, which one call of the cell, differentiated, hands on to its
    weights and inputs. No round of the solution is kept.

    Args:
        stepped: `f(h_t, x_t)` of all steps `(T, *batch, D)`, a differentiable function of weights and inputs alone.
        jacobian: `df/dh` of the steps from one to another, `(n, *batch, D, D)`; called in the backward pass.
        span: steps whose Jacobians are held at a time.
    """
    found: Tensor = _Implicit.apply(stepped, jacobian, span)  # type: ignore[no-untyped-call]
    return found


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, stepped: Tensor, jacobian: Callable[[int, int], Tensor], span: int) -> Tensor:
        ctx.jacobian, ctx.span = jacobian, span
        return stepped.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        last, parts = grad[-1], [grad[-1:]]
        for stop in range(len(grad) - 1, 0, -ctx.span):
            start = max(stop - ctx.span, 0)
            parts.append(affine_scan(ctx.jacobian(start + 1, stop + 1).mT, grad[start:stop], last, reverse=True))
            last = parts[-1][0]
        return torch.cat(parts[::-1]), None, None
