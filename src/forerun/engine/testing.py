"""The contract as checks, for other people's processes and methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods import Method, Sequential
from forerun.engine.process import Process
from forerun.engine.solve import solve
from forerun.engine.sweep import Problem
from forerun.engine.tolerance import Absolute
from forerun.engine.tree import Tree, tensors, tree_map
from forerun.engine.window import Full, Sliding


class ContractBroken(AssertionError):
    """A process or a method does not keep its contract; the message says which part, and the line to write."""


def check_process(process: Process, state: Tree, *, steps: int = 4, rtol: float = 1e-4) -> None:
    """Whether a process keeps its contract on its first steps.

    Args:
        process: the process.
        state: its first state.
        steps: how many steps to look at; no more than it has.
        rtol: how far a batch may differ from its steps one by one, relative to the largest output; kernels vary.

    Raises:
        ContractBroken: it does not.
        ValueError, TypeError: outputs, inputs or states do not fit together; as `solve` would say.
    """
    count = min(steps, process.length)
    problem, states, inputs, singles = Problem(process, state), [state], [], []
    for step in range(count):
        inputs.append(problem.observe(states[-1]))
        singles.append(problem.evaluate(problem.steps(step, step + 1), inputs[-1].unsqueeze(0))[0])
        states.append(_advance_twice(problem, step, states[-1], singles[-1]))
    if not count:
        return
    rows, one_by_one = torch.stack(inputs), torch.stack(singles)
    together, again = (problem.evaluate(problem.steps(0, count), rows) for _ in range(2))
    _require(
        torch.equal(together, again), "evaluate gave two answers to the same question; let noise belong to the step"
    )
    _require(
        _close(together, one_by_one, rtol),
        "evaluate answers a batch of steps unlike its steps one by one; let each step depend on its own input alone, "
        "and use steps[k] for input k",
    )
    _check_affine(problem, rows, together, states=states, rtol=rtol)


def check_method(method: Method, process: Process | None = None, state: Tree = None) -> None:
    """Whether a method gives the sequential answer, and accepts a step in every round.

    Args:
        method: the method.
        process: to try it on; None for a small contraction.
        state: its first state.

    Raises:
        ContractBroken: it does not.
    """
    if process is None:
        process = Process.from_step(lambda i, x: torch.tanh(0.8 * x.flip(0) + 0.1 * i), 20)
        state = torch.linspace(-1, 1, 6, dtype=torch.float64)
    truth = solve(process, state, method=Sequential(), check=False)
    for window in (Sliding(1), Sliding(3), Full()):
        found = solve(process, state, method=method, window=window, tolerance=Absolute(1e-11), check=False)
        apart = max(float((a - b).abs().max()) for a, b in zip(tensors(found.state), tensors(truth.state), strict=True))
        _require(
            apart <= 1e-8,
            f"with {window} the answer is {apart:.1e} off the sequential one; moves must tell how far every new input "
            "lies from the one its output was evaluated at",
        )
        _require(
            all(entry.accepted >= 1 for entry in found.log) and len(found.log) <= process.length,
            f"with {window} it took {len(found.log)} iterations for {process.length} steps; evaluate the first step at "
            "front.inputs[0] and advance it plainly",
        )


def _advance_twice(problem: Problem, step: int, state: Tree, output: Tensor) -> Tree:
    before = tree_map(torch.clone, state), output.clone()
    first, second = (problem.advance(step, state, output) for _ in range(2))
    _require(
        _same(before[0], state) and torch.equal(before[1], output),
        f"advance modified its state or its output at step {step}; return new tensors, as `state + output` does and "
        "`state += output` does not",
    )
    _require(_same(first, second), f"advance gave two states at step {step}; let noise belong to the step")
    return first


def _check_affine(problem: Problem, inputs: Tensor, outputs: Tensor, *, states: list[Tree], rtol: float) -> None:
    maps = problem.process.affine(problem.steps(0, len(outputs)))
    if maps is None:
        return
    a, b = (factor.to(inputs).reshape(-1, *[1] * (inputs.dim() - 1)) for factor in (maps.state, maps.output))
    closed = a * inputs + b * outputs
    if maps.shift is not None:
        closed = closed + problem.inputs.pack(maps.shift, len(outputs))
    stepped = torch.stack([problem.observe(state) for state in states[1:]])
    _require(
        _close(closed, stepped, rtol),
        "affine and advance disagree; affine must give a, b, c with advance(i, x, o) = a x + b o + c, or return None",
    )


def _close(one: Tensor, other: Tensor, rtol: float) -> bool:
    return bool((one - other).abs().max() <= rtol * other.abs().max()) if one.numel() else True


def _same(one: Tree, other: Tree) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)

    return all(equal(a, b) for a, b in zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True))


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ContractBroken(sentence)
