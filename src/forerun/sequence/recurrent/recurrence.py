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

CHANGED_ROUNDINGS = 64  # that the states of the backward pass may differ by from those of the forward pass
TF32_ROUNDING = 2.0**-10


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
        self._cell = cell
        self._prepared = prepared

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self._cell.step_rows(inputs, self._select_inputs(steps))

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=0.0, output=1.0)

    def evaluate_with_jacobian(
        self,
        steps: Tensor,
        inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs, and Jacobians `(W, *batch, D, D)`: the `linear` of `Newton`."""
        return self._cell.step_with_jacobian(inputs, self._select_inputs(steps))

    def _select_inputs(self, steps: Tensor) -> Tree:
        """Return the prepared inputs of the steps: a view, where these follow one another."""
        first = int(steps[0])
        stop = int(steps[-1]) + 1
        if stop - first == len(steps):
            return tree_map(lambda leaf: leaf[first:stop], self._prepared)
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

    def __init__(
        self,
        cell: Cell,
        hidden: Tensor,
        prepared: Tree,
        gradients: Tensor,
    ) -> None:
        self.length = len(hidden)
        self._cell = cell
        self._hidden = hidden
        self._prepared = prepared
        self._gradients = gradients

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        hidden, prepared = self._select_rows(steps)
        with torch.enable_grad():
            pull_back = torch.func.vjp(lambda rows: self._cell.step_rows(rows, prepared), hidden)[1]
        costates: Tensor = pull_back(inputs)[0]
        return costates

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return self._gradients[self.length - 1 - step] + output

    def affine(self, steps: Tensor) -> Affine:
        shift = self._gradients[self.length - 1 - steps]
        return Affine.constant(steps, state=0.0, output=1.0, shift=shift)

    def evaluate_with_jacobian(
        self,
        steps: Tensor,
        inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return outputs, and the transposed Jacobians `(W, *batch, D, D)`: the `linear` of `Newton`."""
        hidden, prepared = self._select_rows(steps)
        J = self._cell.step_with_jacobian(hidden, prepared)[1].mT
        return apply_slopes(J, inputs), J

    def _select_rows(self, steps: Tensor) -> tuple[Tensor, Tree]:
        """Return the hidden states and prepared inputs of the steps, which go back in time."""
        places = self.length - 1 - steps
        return self._hidden[places], tree_map(lambda leaf: leaf[places], self._prepared)


def slice_steps(tree: Tree, first: int, stop: int) -> Tree:
    """Return the steps of a tree `(T, ...)` from one to another."""
    return tree_map(lambda leaf: leaf[first:stop], tree)


def detach_tree(tree: Tree) -> Tree:
    """Return the tree without its gradient."""
    return tree_map(torch.Tensor.detach, tree)


def carry_gradient(
    stepped: Tensor,
    jacobian: Callable[[int, int], tuple[Tensor, Tensor]],
    max_width: int,
) -> Tensor:
    """Return `stepped` as a function of all steps before: its gradient is carried back by one reverse scan.

    By the implicit function theorem, at a path with `h_{t+1} = f(h_t, x_t)` the gradients `g` of a loss by the path
    become costates `l_t = g_t + J_{t+1}^T l_{t+1}`, which one call of the cell, differentiated, hands on to its
    weights and inputs. No round of the solution is kept.

    Args:
        stepped: `f(h_t, x_t)` of all steps `(T, *batch, D)`, a differentiable function of weights and inputs alone.
        jacobian: gives `f` and `df/dh` of the steps from one to another, `(n, *batch, D)` and `(n, *batch, D, D)`;
            called in the backward pass.
        max_width: steps whose Jacobians are held at a time.

    Raises:
        RuntimeError: in the backward pass, where `f` has changed since, or a second derivative is asked for.
    """
    carried: Tensor = _ImplicitGradient.apply(
        stepped,
        jacobian,
        max_width,
    )  # type: ignore[no-untyped-call]
    return carried


class _ImplicitGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        stepped: Tensor,
        jacobian: Callable[[int, int], tuple[Tensor, Tensor]],
        max_width: int,
    ) -> Tensor:
        ctx.stepped = stepped.detach()
        ctx.jacobian = jacobian
        ctx.max_width = max_width
        return stepped.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        (grad,) = grads
        costate = grad[-1]
        segments = [grad[-1:]]
        for stop in range(len(grad) - 1, 0, -ctx.max_width):
            start = max(stop - ctx.max_width, 0)
            rows, J = ctx.jacobian(start + 1, stop + 1)
            _refuse_changed_cell(rows, ctx.stepped[start + 1 : stop + 1])
            segment = affine_scan(J.mT, grad[start:stop], costate, reverse=True)
            segments.append(segment)
            costate = segment[0]
        segments.reverse()
        return torch.cat(segments), None, None


def refuse_second_derivative() -> None:
    """Refuse `create_graph=True`: by the implicit function theorem only the first derivative is known.

    A mark such as `once_differentiable` is not enough, since `grad(inputs=...)` goes past it in silence.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "states that were computed in parallel over time can be differentiated once, and create_graph=True asks "
            "for more; pass method=forerun.Sequential() for the plain loop, or leave create_graph=True out"
        )


def _refuse_changed_cell(rows: Tensor, stepped: Tensor) -> None:
    """Refuse a cell that gives other states in the backward pass than it gave in the forward pass."""
    distance = (rows - stepped).abs().amax()
    allowed = CHANGED_ROUNDINGS * rounding_unit(stepped) * stepped.abs().amax()
    if bool(distance > allowed):
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: the cell "
            f"gives states that differ by {float(distance):.2g} from those of its forward pass; call backward() "
            "before optimizer.step(), and leave the cell and what it reads as they are until then"
        )


def rounding_unit(values: Tensor) -> float:
    """Return the relative size of a rounding where these values are multiplied; TF32 keeps ten bits."""
    if values.is_cuda and values.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return TF32_ROUNDING
    return torch.finfo(values.dtype).eps
