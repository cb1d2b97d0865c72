"""Implicit: a limit as a layer, with gradients by the implicit function theorem.

    z* = f(z*, inputs),    dL/dp = g' df/dp    with    g = (df/dz)' g + dL/dz*

The adjoint `g` is the limit of a map itself, and is found by the same methods; nothing of the iteration is kept for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.engine.fixed_point import fixed_point
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords

StateFunction = Callable[..., Tree]


class Implicit(nn.Module):
    """An equilibrium layer: the limit of a module in its first argument, differentiable in everything else.

        layer = Implicit(cell, tolerance=1e-5)
        z = layer(z0, x)        # z = cell(z, x)

    Gradients reach the parameters of the module and its other arguments, not `z0`, on which a limit does not depend.
    Their memory is that of one call of the module. The module must give the same value for the same arguments:
    dropout inside must be off, `module.eval()`.

    Args:
        module: a module or function `(z, *inputs) -> z`.
        batch_dims: leading axes of `z` that count independent problems.
        throw: raise where the limit, or its adjoint, was not reached; False takes the best state, and `.limit.status`
            and `.adjoint_limit.status` say so.
        adjoint: how the adjoint is solved, where not as the limit is.
        options: how the limit is searched.
        keywords: the options one by one.
    """

    def __init__(
        self,
        module: nn.Module | StateFunction,
        *,
        batch_dims: int = 0,
        throw: bool = True,
        adjoint: LimitOptions | None = None,
        options: LimitOptions | None = None,
        **keywords: Unpack[LimitKeywords],
    ) -> None:
        super().__init__()
        self.module = module
        self.batch_dims = batch_dims
        self.throw = throw
        self.options = LimitOptions.gather(options, keywords)
        self.adjoint = adjoint
        self.limit: Limit | None = None
        self.adjoint_limit: Limit | None = None

    def forward(self, z0: Tree, *inputs: Any, **named_inputs: Any) -> Any:
        """Return `z` with `z = module(z, *inputs)`; `.limit` then has what is known of it.

        Args:
            z0: where the search begins, a tree of tensors.
            inputs: the module's other arguments.
            named_inputs: likewise, by name.
        """

        def evaluate(z: Tree) -> Tree:
            return self.module(z, *inputs, **named_inputs)

        self.limit = fixed_point(evaluate, z0, batch_dims=self.batch_dims, options=self.options, throw=self.throw)
        return attach_gradient(
            evaluate,
            self.limit.state,
            batch_dims=self.batch_dims,
            options=self.adjoint or self.options,
            throw=self.throw,
            observe=self._observe_adjoint,
        )

    def _observe_adjoint(self, limit: Limit) -> None:
        self.adjoint_limit = limit


def attach_gradient(
    evaluate: Callable[[Tree], Tree],
    limit: Tree,
    *,
    batch_dims: int = 0,
    options: LimitOptions | None = None,
    throw: bool = True,
    observe: Callable[[Limit], Any] | None = None,
) -> Any:
    """Return the limit of a function as a differentiable value of all that the function uses.

    Args:
        evaluate: the map whose limit it is.
        limit: the limit.
        batch_dims: leading axes that count independent problems.
        options: how the adjoint is solved; a tolerance is relative to the gradient that comes in.
        throw: raise in the backward pass where the adjoint has no limit, rather than take what there is.
        observe: called in the backward pass, with the limit that the adjoint is, in units of that gradient.
    """
    if not torch.is_grad_enabled():
        return limit
    leaves = tree_map(lambda leaf: leaf.detach().requires_grad_(), limit)
    values = evaluate(leaves)
    tensors, spec = pytree.tree_flatten(values)
    places = [place for place, leaf in enumerate(tensors) if isinstance(leaf, Tensor)]
    problem = AdjointProblem(
        values=[tensors[place] for place in places],
        leaves=[leaf for leaf in pytree.tree_leaves(leaves) if isinstance(leaf, Tensor)],
        batch_dims=batch_dims,
        options=options or LimitOptions(),
        throw=throw,
        observe=observe or (lambda limit: None),
    )
    attached = cast(Sequence[Tensor], SolveAdjoint.apply(problem, *problem.values))  # type: ignore[no-untyped-call]
    for place, tensor in zip(places, attached, strict=True):
        tensors[place] = tensor
    return pytree.tree_unflatten(tensors, spec)


@dataclass(frozen=True)
class AdjointProblem:
    """The linear map whose limit is an adjoint: `g -> (df/dz)' g + v`.

    Attributes:
        values: `f(z)` as it was evaluated, with its graph.
        leaves: `z`, the beginnings of that graph.
        batch_dims: leading axes that count independent problems.
        options: how its limit is searched.
        throw: raise where it has none.
        observe: called with the limit.
    """

    values: Sequence[Tensor]
    leaves: Sequence[Tensor]
    batch_dims: int
    options: LimitOptions
    throw: bool
    observe: Callable[[Limit], Any]

    def solve(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the adjoint of gradients with respect to the limit.

        The map is linear, and is solved for gradients of size one: those of a mean may be far below the tolerance.
        """
        sizes = self._measure_gradients(gradients)
        units = [gradient / size for gradient, size in zip(gradients, sizes, strict=True)]
        connected = [value for value in self.values if value.requires_grad]

        def evaluate(adjoint: Sequence[Tensor]) -> list[Tensor]:
            weights = [weight for weight, value in zip(adjoint, self.values, strict=True) if value.requires_grad]
            pulled = torch.autograd.grad(
                connected,
                self.leaves,
                weights,
                retain_graph=True,
                allow_unused=True,
            )
            sums = []
            for unit, share in zip(units, pulled, strict=True):
                sums.append(unit.clone() if share is None else unit + share)
            return sums

        limit = fixed_point(evaluate, units, batch_dims=self.batch_dims, options=self.options, throw=self.throw)
        self.observe(limit)
        return [adjoint * size for adjoint, size in zip(limit.state, sizes, strict=True)]

    def _measure_gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the root mean square of the gradients of every problem, as a factor for each tensor; 1 for zeros."""
        squares: Any = 0.0
        for gradient in gradients:
            batch, shape = gradient.shape[: self.batch_dims], gradient.shape[self.batch_dims :]
            squares = squares + gradient.abs().square().reshape(*batch, prod(shape)).sum(-1)
        count = sum(prod(gradient.shape[self.batch_dims :]) for gradient in gradients)
        size = (squares / max(count, 1)).sqrt()
        size = torch.where(size > 0, size, 1.0)
        return [
            size.reshape(*size.shape, *[1] * (gradient.dim() - self.batch_dims)).to(gradient.dtype)
            for gradient in gradients
        ]


class SolveAdjoint(torch.autograd.Function):
    """The identity, whose backward pass puts the adjoint in place of the gradient."""

    @staticmethod
    def forward(ctx: Any, problem: AdjointProblem, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors as they are."""
        ctx.problem = problem
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the adjoint of the gradients."""
        return (None, *ctx.problem.solve(gradients))
