"""Process: a sequential computation cut into a costly part and a cheap one.

A step `x_{i+1} = f_i(x_i)` is written as

    o_i     = evaluate(i, observe(x_i))      costly; many steps at once
    x_{i+1} = advance(i, x_i, o_i)           cheap and exact; in order

The cut decides how many rounds are needed: the output should be the quantity that changes least
along the path (the denoised sample rather than the noise, the increment rather than the next state).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class Affine:
    """`advance` of the steps of a window as affine maps, `x_{i+1} = a_i x_i + b_i o_i + c_i`.

    Args:
        state: `a`, shape `(W,)`.
        output: `b`, shape `(W,)`.
        shift: `c`, a tree like the state with a leading axis of `W`, or None for zero.
    """

    state: Tensor
    output: Tensor
    shift: Tree | None = None

    @classmethod
    def constant(cls, steps: Tensor, *, state: float, output: float, shift: Tree | None = None) -> Affine:
        """Return maps whose factors `a` and `b` are the same at every step.

        The factors are float64, so that a run in float64 is not rounded to float32; the rows of a run in float32
        round them once.
        """
        dtype = torch.float32 if steps.device.type == "mps" else torch.float64  # Metal has no float64

        def repeat(factor: float) -> Tensor:
            return torch.full((len(steps),), factor, dtype=dtype, device=steps.device)

        return cls(repeat(state), repeat(output), shift)


class Process(ABC):
    """A sequential computation of `length` steps.

    `batch_dims` leading axes of every tensor of input and output count independent samples: slopes,
    residuals and deviations are then taken per sample, so that a hard sample does not spoil the rest.
    """

    length: int
    batch_dims: int = 0

    @abstractmethod
    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        """The outputs of many steps in one call.

        Must be a pure function of its arguments, each step by itself: noise belongs to the step
        (`forerun.engine.numerics.noise`), and nothing may be kept between calls.

        Args:
            steps: int64 `(W,)`, on the device of the inputs; ascending, not always contiguous.
            inputs: tree of tensors `(W, *input)`.

        Returns:
            Tree of tensors `(W, *output)`. Slopes need outputs as wide as the inputs; where they are
            not, every method treats the slope as zero.
        """

    @abstractmethod
    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        """The next state, from one step's state and output (no step axis). Must not modify its arguments."""

    def observe(self, state: Tree) -> Tree:
        """The part of the state that `evaluate` looks at; the state itself unless told otherwise."""
        return state

    def affine(self, steps: Tensor) -> Affine | None:
        """`advance` in closed form, where it is affine and the input is the state; else None.

        Args:
            steps: int64 `(W,)`, contiguous.

        A process that gives it is swept by one scan (`forerun.engine.numerics.scan`) instead of step by step.
        """
        return None

    @staticmethod
    def from_step(
        step: Callable[[Any, Tree], Tree],
        length: int,
        *,
        batched: bool = False,
        increment: bool = False,
        batch_dims: int = 0,
    ) -> Process:
        """A process from a plain function `x_{i+1} = step(i, x_i)`.

        Args:
            step: takes a step and a state. With `batched=False` it is written for one step (`i` is an
                int64 tensor without axes) and mapped by `torch.func.vmap`, plain values left as they are; with
                `batched=True` it takes `i` of shape `(W,)` and states with a leading axis of `W`.
            length: number of steps.
            increment: let the output be `step(i, x) - x` instead of the next state. Right for small steps
                (integrators, samplers), whose states move more than their increments do.
            batch_dims: see `Process`.
        """
        return _FromStep(step, length, batched=batched, increment=increment, batch_dims=batch_dims)


@final
class _FromStep(Process):
    def __init__(
        self, step: Callable[[Any, Tree], Tree], length: int, *, batched: bool, increment: bool, batch_dims: int
    ) -> None:
        self.length = length
        self.batch_dims = batch_dims
        self._increment = increment
        self._step = step if batched else _mapped(step)

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        following = self._step(steps, inputs)
        return _combine(torch.sub, following, inputs) if self._increment else following

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        return _combine(torch.add, state, output) if self._increment else output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=1.0 if self._increment else 0.0, output=1.0)


def _mapped(step: Callable[[Any, Tree], Tree]) -> Callable[[Tensor, Tree], Tree]:
    """`step` over a leading axis of all tensors; plain values are handed in and out as they are."""

    def call(steps: Tensor, inputs: Tree) -> Tree:
        leaves, spec = pytree.tree_flatten(inputs)
        if all(isinstance(leaf, Tensor) for leaf in leaves):
            return torch.func.vmap(step)(steps, inputs)
        found: list[Any] = []

        def of_tensors(i: Tensor, *each: Tensor) -> tuple[Tensor, ...]:
            given = iter(each)
            tree = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            found[:] = pytree.tree_flatten(step(i, pytree.tree_unflatten(tree, spec)))
            return tuple(leaf for leaf in found[0] if isinstance(leaf, Tensor))

        mapped = iter(torch.func.vmap(of_tensors)(steps, *(leaf for leaf in leaves if isinstance(leaf, Tensor))))
        outputs, spec_of_outputs = found
        tree = [next(mapped) if isinstance(leaf, Tensor) else leaf for leaf in outputs]
        return pytree.tree_unflatten(tree, spec_of_outputs)

    return call


def _combine(operation: Callable[[Tensor, Tensor], Tensor], left: Tree, right: Tree) -> Tree:
    return pytree.tree_map(lambda a, b: operation(a, b) if isinstance(a, Tensor) else a, left, right)
