"""What the contract checks share: small problems, whether two trees agree, and the error that names what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods import Sequential
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.process import Process
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute

Problems = Sequence[tuple[Process, Tree]]

SOLVE_TOLERANCE = Absolute(1e-11)
ANSWER_DISTANCE = 1e-8  # from the sequential answer, after a solve that is held to that tolerance


class ContractBroken(AssertionError):
    """Something does not keep its contract; the message says which part, and the line to write."""


def require(holds: bool, sentence: str) -> None:
    """Raise `ContractBroken` with a sentence unless something holds."""
    if not holds:
        raise ContractBroken(sentence)


@final
class MomentumDescent(Process):
    """Gradient descent with momentum: only a part of the state is the input."""

    length = 14

    def observe(self, state: Tree) -> Tree:
        return state["x"]

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        return torch.sin(inputs) + 0.05 * steps.to(inputs).unsqueeze(-1)

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        velocity = 0.8 * state["v"] - 0.1 * output
        return {
            "x": state["x"] + velocity,
            "v": velocity,
            "count": state["count"] + 1,
        }


def small_problems() -> Problems:
    """Return processes of a few steps and their first states, in double precision."""
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    contraction = Process.from_step(
        lambda i, x: torch.tanh(0.8 * x.flip(0) + 0.1 * i),
        length=20,
    )
    growth = Process.from_step(
        lambda i, x: x + 0.1 * torch.sin(x + 0.2 * i),
        length=15,
        increment=True,
        batch_dims=1,
    )
    single_step = Process.from_step(lambda i, x: torch.cos(x), length=1)
    momentum_state = {"x": x, "v": torch.zeros_like(x), "count": 0}
    return [
        (contraction, x),
        (growth, x.reshape(2, 3)),
        (single_step, x),
        (MomentumDescent(), momentum_state),
    ]


def require_sequential_answer(process: Process, state: Tree, **settings: Any) -> None:
    """Solve a process in parallel over steps with some settings, and hold the answer against the sequential one."""
    truth = solve(process, state, method=Sequential(), check=False)
    solution = solve(process, state, tolerance=SOLVE_TOLERANCE, check=False, **settings)
    gap = largest_difference(solution.state, truth.state)
    keywords = ", ".join(f"{name}={value}" for name, value in settings.items())
    require(
        gap <= ANSWER_DISTANCE,
        f"solve(..., {keywords}) gave an answer that is {gap:.1e} off the sequential one",
    )


def is_close(one: Tensor, other: Tensor, rtol: float) -> bool:
    """Whether two tensors agree, nan with nan, to a share of the largest finite number."""
    finite_sizes = other[other.isfinite()].abs()
    scale = 0.0
    if finite_sizes.numel():
        scale = float(finite_sizes.max())
    return torch.allclose(
        one,
        other,
        rtol=0.0,
        atol=rtol * scale,
        equal_nan=True,
    )


def is_same(one: Tree, other: Tree) -> bool:
    """Whether two trees are equal to the bit, nan with nan."""
    leaves, spec = pytree.tree_flatten(one)
    other_leaves, other_spec = pytree.tree_flatten(other)
    if spec != other_spec:
        return False
    return all(map(_is_same_leaf, leaves, other_leaves))


def _is_same_leaf(one: Any, other: Any) -> bool:
    """Whether two leaves are equal to the bit, and of one type, dtype and shape."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        same_type = type(one) is type(other)
        return same_type and bool(one == other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.is_floating_point():
        return is_close(one, other, 0.0)
    return torch.equal(one, other)


def largest_difference(one: Tree, other: Tree) -> float:
    """Return the largest difference between two trees; infinity where one is not a number."""
    largest = 0.0
    for a, b in zip(tree_tensors(one), tree_tensors(other), strict=True):
        if a.numel():
            gap = (a.double() - b.double()).abs().nan_to_num(torch.inf)
            largest = max(largest, float(gap.max()))
    return largest
