"""Process: a sequential computation cut into a costly part and a cheap one.

A step `x_{i+1} = f_i(x_i)` is written as

    o_i     = evaluate(i, observe(x_i))      costly; many steps at once
    x_{i+1} = advance(i, x_i, o_i)           cheap and exact; in order

The cut decides how many rounds are needed: the output should be the quantity that changes least
along the path (the denoised sample rather than the noise, the increment rather than the next state).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree

StepFunction = Callable[[Any, Tree], Tree]  # (i, x_i) -> x_{i+1}


@dataclass(frozen=True)
class Affine:
    """`advance` of the steps of a window as affine maps, `x_{i+1} = a_i x_i + b_i o_i + c_i`.

    Args:
        state: `a`, shape `(W,)`.
        output: `b`, shape `(W,)`.
        shift: `c`, a tree like the state with a leading axis of `W`, or None for zero.
        copies: the next state is the output as it is, with nothing to be rounded. Any other closed form is not used
            for states in half precision, as sums in a wider one would not be rounded as those of `advance` are.
    """

    state: Tensor
    output: Tensor
    shift: Tree | None = None
    copies: bool = False

    @classmethod
    def constant(cls, steps: Tensor, *, state: float, output: float, shift: Tree | None = None) -> Affine:
        """Return maps whose factors `a` and `b` are the same at every step.

        The factors are float64, so that a run in float64 is not rounded to float32; the rows of a run in float32
        round them once.
        """
        dtype = torch.float32 if steps.device.type == "mps" else torch.float64  # Metal has no float64

        def repeat(factor: float) -> Tensor:
            return torch.full((len(steps),), factor, dtype=dtype, device=steps.device)

        copies = state == 0 and output == 1 and shift is None
        return cls(repeat(state), repeat(output), shift, copies)


class Process(ABC):
    """A sequential computation of `length` steps.

    `batch_dims` leading axes of every tensor of input and output count independent samples: slopes,
    residuals and deviations are then taken per sample, so that a hard sample does not spoil the rest.

    `kind` is an object by which runs of the same kind are known again, such as the network that is evaluated; only a
    weak reference to it is kept. None for what can be seen: the class, with its functions and its networks.

    `counts_whole_state` says that all of the state is the answer: leaves that `observe` leaves out are held against the
    tolerance too. False where they only serve the next steps: a scheduler's history, moments of an optimiser.
    """

    length: int
    batch_dims: int = 0
    counts_whole_state: bool = True
    kind: Any = None

    @abstractmethod
    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        """Return the outputs of many steps in one call.

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
        """Return the next state, from one step's state and output (no step axis). Must not modify its arguments."""

    def observe(self, state: Tree) -> Tree:
        """Return the part of the state that `evaluate` looks at; by default the state itself."""
        return state

    def affine(self, steps: Tensor) -> Affine | None:
        """Return `advance` in closed form where it is affine and the input is the state, otherwise None.

        Args:
            steps: int64 `(W,)`, contiguous.

        A process that gives it is swept by one scan (`forerun.engine.numerics.scan`) instead of step by step.
        """
        return None

    @staticmethod
    def from_step(
        step: StepFunction,
        length: int,
        *,
        batched: bool = False,
        increment: bool = False,
        batch_dims: int = 0,
    ) -> Process:
        """Return a process from a plain function `x_{i+1} = step(i, x_i)`.

        Args:
            step: takes a step and a state. With `batched=False` it is written for one step (`i` is an
                int64 tensor without axes) and mapped by `torch.func.vmap`, plain values left as they are; with
                `batched=True` it takes `i` of shape `(W,)` and states with a leading axis of `W`.
            length: number of steps.
            increment: let the output be `step(i, x) - x` instead of the next state. Right for small steps
                (integrators, samplers), whose states move more than their increments do.
            batch_dims: see `Process`.
        """
        return StepProcess(step, length, batched=batched, increment=increment, batch_dims=batch_dims)


@final
class StepProcess(Process):
    """The process of a plain step function; see `Process.from_step`."""

    def __init__(self, step: StepFunction, length: int, *, batched: bool, increment: bool, batch_dims: int) -> None:
        self.length = length
        self.batch_dims = batch_dims
        self.function = step
        self.is_batched = batched
        self._increment = increment
        self._step = step if batched else _map_over_steps(step)

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        next_states = self._step(steps, inputs)
        if self._increment:
            return _combine_trees(torch.sub, next_states, inputs)
        return next_states

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        if self._increment:
            return _combine_trees(torch.add, state, output)
        return output

    def rows_of_outputs(self, inputs: Tensor) -> Tensor:
        """Return the output rows `(W, *batch, D)` of steps that were taken in order, from the input rows of all states.

        Args:
            inputs: `(W + 1, *batch, D)`, of the states before and after every step.
        """
        if self._increment:
            return inputs[1:] - inputs[:-1]
        return inputs[1:]

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=float(self._increment), output=1.0)


def _map_over_steps(step: StepFunction) -> Callable[[Tensor, Tree], Tree]:
    """Return `step` over a leading axis of all tensors; plain values are handed in and out as they are."""

    def call_mapped(steps: Tensor, inputs: Tree) -> Tree:
        leaves, spec = pytree.tree_flatten(inputs)
        if all(isinstance(leaf, Tensor) for leaf in leaves):
            return torch.func.vmap(step)(steps, inputs)
        output_structure: list[Any] = []

        def call_on_tensors(i: Tensor, *input_tensors: Tensor) -> tuple[Tensor, ...]:
            state = pytree.tree_unflatten(_replace_tensors(leaves, input_tensors), spec)
            output_structure[:] = pytree.tree_flatten(step(i, state))
            return _select_tensors(output_structure[0])

        output_tensors = torch.func.vmap(call_on_tensors)(steps, *_select_tensors(leaves))
        output_leaves, output_spec = output_structure
        return pytree.tree_unflatten(_replace_tensors(output_leaves, output_tensors), output_spec)

    return call_mapped


def _select_tensors(leaves: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))


def _replace_tensors(leaves: Sequence[Any], tensors: Iterable[Tensor]) -> list[Any]:
    """Return the leaves with other tensors in the places of theirs."""
    remaining = iter(tensors)
    return [next(remaining) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _combine_trees(operation: Callable[[Tensor, Tensor], Tensor], left: Tree, right: Tree) -> Tree:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return operation(left, right)

    def combine_leaves(one: Any, other: Any) -> Any:
        return operation(one, other) if isinstance(one, Tensor) else one

    return pytree.tree_map(combine_leaves, left, right)


def is_adapter(process: Process) -> bool:
    """Return whether a process is one of this package's, which stands for something of the user's in its steps."""
    is_of_package = type(process).__module__.split(".")[0] == __name__.split(".")[0]
    return is_of_package and not isinstance(process, StepProcess)
