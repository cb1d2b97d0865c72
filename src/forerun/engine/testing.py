"""The contract as checks, for other people's processes and methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods import Evaluate, Method, Sequential, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree, tree_map, tree_tensors
from forerun.engine.process import Process
from forerun.engine.rows import Problem
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute
from forerun.engine.windows import Full, Sliding, Window


class ContractBroken(AssertionError):
    """A process or a method does not keep its contract; the message says which part, and the line to write."""


@torch.no_grad()
def check_process(process: Process, state: Tree, *, steps: int = 4, rtol: float | None = None) -> None:
    """Whether a process keeps its contract on its first steps.

    `observe`, `evaluate` and `advance` are pure: they modify nothing, and answer the same question alike. A step's
    output depends on its own input alone, whatever else is in the batch, and a sample's on that sample alone.
    `affine`, where given, is `advance`.

    Args:
        process: the process.
        state: its first state.
        steps: how many steps to look at; no more than it has. Four find what a window can show.
        rtol: how far two answers may differ, relative to the largest number among them, as kernels vary with the
            size of the batch; None for the square root of the rounding of the coarsest dtype.

    Raises:
        ContractBroken: it does not.
        ValueError, TypeError: outputs, inputs or states do not fit together; as `solve` would say.
    """
    count = min(steps, process.length)
    if count < 1:
        raise ValueError(f"nothing to check in {count} steps of a process of {process.length}; pass steps=4")
    problem, states, inputs, outputs = Problem(process, state), [state], [], []
    for step in range(count):
        inputs.append(_observed(problem, step, states[-1]))
        outputs.append(problem.evaluate(problem.step_range(step, step + 1), inputs[-1].unsqueeze(0))[0])
        states.append(_advanced(problem, step, states[-1], outputs[-1]))
    rtol = _rounding(problem) ** 0.5 if rtol is None else rtol
    together = _evaluated(problem, torch.stack(inputs), torch.stack(outputs), rtol)
    _check_samples(problem, torch.stack(inputs), together, rtol)
    for start in {0, count // 2}:
        _check_affine(problem, start, states, together)


@torch.no_grad()
def check_method(method: Method, *, problems: Sequence[tuple[Process, Tree]] | None = None) -> None:
    """Whether a method keeps its contract: the sequential answer, from windows of every width.

    Its first step is the plain one, so that every round makes progress; the leading steps whose `moves` are zero are
    exact; and it keeps nothing between runs.

    Args:
        method: the method.
        problems: processes and their first states to try it on; None for some small ones in double precision.

    Raises:
        ContractBroken: it does not.
    """
    watched = _Watched(method)
    for process, state in _problems() if problems is None else problems:
        truth = solve(process, state, method=Sequential(), check=False)
        windows: tuple[Window, ...] = (Sliding(1), Sliding(3), Full(), Sliding(process.length + 5))
        for window in windows:
            found = _solved(process, state, watched, window)
            apart = _distance(found.state, truth.state)
            _require(
                apart <= 1e-8,
                f"with {window} the answer is {apart:.1e} off the sequential one; moves must tell how far every new "
                "input lies from the one its output was evaluated at",
            )
            again = _solved(process, state, watched, window)
            _require(
                found.rounds == again.rounds and _same(found.state, again.state),
                f"with {window} a second run differs from the first; keep nothing in self, but hand it on with "
                "WindowUpdate(memory=...), which comes back as window_state.memory",
            )


def _observed(problem: Problem, step: int, state: Tree) -> Tensor:
    before = tree_map(torch.clone, state)
    first, second = (problem.observe(state) for _ in range(2))
    _require(_same(before, state), f"observe modified the state of step {step}; return a part of it, or new tensors")
    _require(_same(first, second), f"observe gave two inputs for the state of step {step}; let it only select")
    return first


def _advanced(problem: Problem, step: int, state: Tree, output: Tensor) -> Tree:
    before = tree_map(torch.clone, state), output.clone()
    first = problem.advance(step, state, output)
    kept = tree_map(torch.clone, first)
    second = problem.advance(step, state, output)
    _require(
        _same(before[0], state) and _same(before[1], output),
        f"advance modified its state or its output at step {step}; return new tensors, as `state + output` does and "
        "`state += output` does not",
    )
    _require(
        _same(kept, second) and _same(kept, first),
        f"advance gave two states at step {step}; let noise belong to the step, as forerun.engine.numerics.noise does, "
        "and carry counters in the state, not in self",
    )
    return first


def _evaluated(problem: Problem, inputs: Tensor, one_by_one: Tensor, rtol: float) -> Tensor:
    """The outputs of all steps in one call, once it is sure that they are those of the steps one by one."""
    steps, asked = problem.step_range(0, len(inputs)), inputs.clone()
    together = problem.evaluate(steps, asked).clone()
    _require(_same(asked, inputs), "evaluate modified its inputs; return new tensors, as `x + 1` does and `x += 1` not")
    again = problem.evaluate(steps, asked)
    _require(
        _close(again, together, rtol),
        "evaluate gave two answers to the same question; let noise belong to the step, as "
        "forerun.engine.numerics.noise does, and put layers such as dropout to rest with model.eval()",
    )
    single = problem.evaluate(steps[:1], asked[:1])
    _require(
        _close(together, one_by_one, rtol) and _close(single, one_by_one[:1], rtol),
        "evaluate answers a batch of steps unlike its steps one by one; let each step depend on its own input alone, "
        "and use steps[k] for input k",
    )
    _require(
        _close(problem.evaluate(steps[::2], asked[::2]), one_by_one[::2], rtol),
        "evaluate answers every other step unlike all steps; steps need not be contiguous: use steps[k] for input k, "
        "not steps[0] + k",
    )
    return together


def _check_samples(problem: Problem, inputs: Tensor, outputs: Tensor, rtol: float) -> None:
    """Whether the other samples notice that the first one is replaced."""
    dims = len(problem.input_layout.batch)
    if problem.input_layout.batch.numel() < 2 or not dims:
        return
    changed, expected = (rows.clone().flatten(1, dims) for rows in (inputs, outputs))
    changed[:, 0] = changed[:, 1].flip(0)  # of another step, as the samples may begin alike
    found = problem.evaluate(problem.step_range(0, len(inputs)), changed.reshape(inputs.shape)).flatten(1, dims)
    _require(
        _close(found[:, 1:], expected[:, 1:], rtol),
        f"the process says batch_dims = {dims}, but the outputs of a sample follow the input of another; evaluate "
        "every sample by itself, or set batch_dims = 0",
    )


def _check_affine(problem: Problem, start: int, states: list[Tree], outputs: Tensor) -> None:
    """Whether the closed form of the steps from `start` on is `advance`, to rounding."""
    outputs, reached = outputs[start:], states[start:]
    maps = problem.process.affine(problem.step_range(start, start + len(outputs)))
    if maps is None:
        return
    if not _same(problem.process.observe(reached[0]), reached[0]):
        raise ContractBroken("affine is for processes whose input is the state; return None from it, or drop observe")
    for name, factor in (("state", maps.state), ("output", maps.output)):
        _require(
            factor.shape == (len(outputs),),
            f"affine gave {name} of shape {list(factor.shape)} for {len(outputs)} steps; give one number a step, (W,)",
        )
    inputs = torch.stack([problem.observe(state) for state in reached])
    a, b = (factor.to(inputs).reshape(-1, *[1] * (inputs.dim() - 1)) for factor in (maps.state, maps.output))
    closed = a * inputs[:-1] + b * outputs
    if maps.shift is not None:
        closed = closed + problem.input_layout.pack(maps.shift, len(outputs))
    stepped = torch.stack(
        [problem.observe(problem.advance(start + k, reached[k], output)) for k, output in enumerate(outputs)]
    )
    _require(
        _close(closed, stepped, 64 * _rounding(problem)),
        "affine and advance disagree; affine must give a, b, c with advance(i, x, o) = a x + b o + c in the precision "
        "of the state, or return None",
    )


@final
@dataclass(frozen=True)
class _Watched(Method):
    """A method whose every iterate is looked at."""

    method: Method

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        found = self.method.iterate(front, evaluate)
        count = len(found.moves)
        _require(
            len(found.states) == count == len(found.outputs) == len(found.inputs) - 1 and count >= 1,
            f"the update has {len(found.states)} states, {len(found.outputs)} outputs, {count} moves and "
            f"{len(found.inputs)} inputs; give W of each for x_start+1 .. x_stop, and W + 1 inputs",
        )
        state = front.state
        for index in range(count):
            if not bool((found.moves[index] == 0).all()):
                _require(
                    index > 0, "the first step moved; evaluate it at window_state.inputs[0], from window_state.state"
                )
                break
            self._check_exact(front, found, index, state)
            state = found.states[index]
        return found

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)

    def _check_exact(self, front: WindowState, found: WindowUpdate, index: int, state: Tree) -> None:
        """Whether a step that did not move is the process's own."""
        problem, step = front.problem, front.start + index
        steps = problem.step_range(step, step + 1)
        output = problem.evaluate(steps, problem.observe(state).unsqueeze(0))[0]
        following, observed = problem.advance(step, state, output), problem.observe(found.states[index])
        which = "the first step is not exact; evaluate it at window_state.inputs[0] and advance window_state.state "
        "plainly"
        if index:
            which = f"step {step} did not move, says the method, but is not exact; moves must tell how far its new "
            which += "input lies from the one its output was evaluated at"
        _require(_distance(following, found.states[index]) <= 1e-8, which)
        _require(_close(observed, found.inputs[index + 1], 1e-8), "inputs[k + 1] is not observe(states[k]); let it be")


@final
class _Ball(Process):
    """Gradient descent with momentum: only a part of the state is the input."""

    length = 14

    def observe(self, state: Tree) -> Tree:
        return state["x"]

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        return torch.sin(inputs) + 0.05 * steps.to(inputs).unsqueeze(-1)

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        velocity = 0.8 * state["v"] - 0.1 * output
        return {"x": state["x"] + velocity, "v": velocity, "count": state["count"] + 1}


def _problems() -> list[tuple[Process, Tree]]:
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    contraction = Process.from_step(lambda i, x: torch.tanh(0.8 * x.flip(0) + 0.1 * i), 20)
    growth = Process.from_step(lambda i, x: x + 0.1 * torch.sin(x + 0.2 * i), 15, increment=True, batch_dims=1)
    single = Process.from_step(lambda i, x: torch.cos(x), 1)
    ball = {"x": x, "v": torch.zeros_like(x), "count": 0}
    return [(contraction, x), (growth, x.reshape(2, 3)), (single, x), (_Ball(), ball)]


def _solved(process: Process, state: Tree, method: Method, window: Window) -> Solution:
    return solve(process, state, method=method, window=window, tolerance=Absolute(1e-11), check=False)


def _rounding(problem: Problem) -> float:
    dtypes = [
        dtype for dtype in (*problem.input_layout.dtypes, *problem.output_layout.dtypes) if dtype.is_floating_point
    ]
    return max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)


def _close(one: Tensor, other: Tensor, rtol: float) -> bool:
    """Whether two tensors agree, nan with nan, to a share of the largest finite number."""
    finite = other[other.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=rtol * scale, equal_nan=True)


def _distance(one: Tree, other: Tree) -> float:
    """The largest difference between two trees; infinite where one is not a number."""
    pairs = zip(tree_tensors(one), tree_tensors(other), strict=True)
    apart = [(a.double() - b.double()).abs().nan_to_num(torch.inf).max() for a, b in pairs if a.numel()]
    return max(map(float, apart), default=0.0)


def _same(one: Tree, other: Tree) -> bool:
    def equal(a: Any, b: Any) -> bool:
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            return type(a) is type(b) and bool(a == b)
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and (_close(a, b, 0.0) if a.is_floating_point() else torch.equal(a, b))

    (ones, spec), (others, other_spec) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == other_spec and all(equal(a, b) for a, b in zip(ones, others, strict=True))


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ContractBroken(sentence)
