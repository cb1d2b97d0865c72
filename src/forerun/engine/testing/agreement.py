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

    def contract(i: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(0.8 * x.flip(0) + 0.1 * i)

    def grow(i: Tensor, x: Tensor) -> Tensor:
        return x + 0.1 * torch.sin(x + 0.2 * i)

    def turn(i: Tensor, x: Tensor) -> Tensor:
        return torch.cos(x)

    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    at_rest = {"x": x, "v": torch.zeros_like(x), "count": 0}
    return [
        (Process.from_step(contract, 20), x),
        (Process.from_step(grow, 15, increment=True, batch_dims=1), x.reshape(2, 3)),
        (Process.from_step(turn, 1), x),
        (MomentumDescent(), at_rest),
    ]


def require_sequential_answer(process: Process, state: Tree, **settings: Any) -> None:
    """Solve a process in parallel over steps with some settings, and hold the answer against the sequential one."""
    truth = solve(process, state, method=Sequential(), check=False)
    solution = solve(process, state, tolerance=SOLVE_TOLERANCE, check=False, **settings)
    gap = distance(solution.state, truth.state)
    keywords = ", ".join(f"{name}={value}" for name, value in settings.items())
    require(
        gap <= ANSWER_DISTANCE,
        f"solve(..., {keywords}) gave an answer that is {gap:.1e} off the sequential one",
    )


def is_close(one: Tensor, other: Tensor, rtol: float) -> bool:
    """Whether two tensors agree, nan with nan, to a share of the largest finite number."""
    finite = other[other.isfinite()].abs()
    scale = 0.0
    if finite.numel():
        scale = float(finite.max())
    return torch.allclose(one, other, rtol=0.0, atol=rtol * scale, equal_nan=True)


def is_same(one: Tree, other: Tree) -> bool:
    """Whether two trees are equal to the bit, nan with nan."""
    leaves, spec = pytree.tree_flatten(one)
    other_leaves, other_spec = pytree.tree_flatten(other)
    return spec == other_spec and all(map(_is_same_leaf, leaves, other_leaves))


def _is_same_leaf(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and bool(one == other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.is_floating_point():
        return is_close(one, other, 0.0)
    return torch.equal(one, other)


def distance(one: Tree, other: Tree) -> float:
    """Return the largest difference between two trees; infinity where one is not a number."""
    largest = 0.0
    for a, b in zip(tree_tensors(one), tree_tensors(other), strict=True):
        if a.numel():
            gap = (a.double() - b.double()).abs().nan_to_num(torch.inf)
            largest = max(largest, float(gap.max()))
    return largest
