"""check_process: whether a process keeps its contract."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.in_place import ChangedInPlace
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Process
from forerun.engine.rows import Problem
from forerun.engine.testing.agreement import ContractBroken, is_close, is_same, require


@torch.no_grad()
def check_process(
    process: Process,
    state: Tree,
    *,
    steps: int = 4,
    rtol: float | None = None,
) -> None:
    """Check that a process keeps its contract on its first steps.

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
    problem = _open_problem(process, state)
    states, input_rows, output_rows = [state], [], []
    for step in range(count):
        row = _check_observe(problem, step, states[-1])
        output = _evaluate_step(problem, step, row)
        input_rows.append(row)
        output_rows.append(output)
        states.append(_check_advance(problem, step, states[-1], output))
    if rtol is None:
        rtol = _coarsest_rounding(problem) ** 0.5
    inputs = torch.stack(input_rows)
    together = _check_evaluate(problem, inputs, torch.stack(output_rows), rtol)
    _check_samples(problem, inputs, together, rtol)
    for start in {0, count // 2}:
        _check_affine(problem, start, states, together)


def _open_problem(process: Process, state: Tree) -> Problem:
    try:
        return Problem(process, state)
    except ChangedInPlace as error:
        raise ContractBroken(str(error)) from error


def _evaluate_step(problem: Problem, step: int, row: Tensor) -> Tensor:
    """Return the output of one step."""
    try:
        return problem.evaluate(problem.step_range(step, step + 1), row.unsqueeze(0))[0]
    except ChangedInPlace as error:
        raise ContractBroken(str(error)) from error


def _check_observe(problem: Problem, step: int, state: Tree) -> Tensor:
    """Return the input of a state, observed twice."""
    before = tree_map(torch.clone, state)
    first = problem.observe(state)
    second = problem.observe(state)
    require(
        is_same(before, state),
        f"observe modified the state of step {step}; return a part of it, or new tensors",
    )
    require(
        is_same(first, second),
        f"observe gave two inputs for the state of step {step}; let it only select",
    )
    return first


def _check_advance(
    problem: Problem,
    step: int,
    state: Tree,
    output: Tensor,
) -> Tree:
    """Return the next state, advanced to twice."""
    state_before = tree_map(torch.clone, state)
    output_before = output.clone()
    first = problem.advance(step, state, output)
    first_before = tree_map(torch.clone, first)
    second = problem.advance(step, state, output)
    require(
        is_same(state_before, state) and is_same(output_before, output),
        f"advance modified its state or its output at step {step}; return new tensors, as `state + output` does and "
        "`state += output` does not",
    )
    require(
        is_same(first_before, second) and is_same(first_before, first),
        f"advance gave two states at step {step}; let noise belong to the step, as forerun.engine.numerics.noise does, "
        "and carry counters in the state, not in self",
    )
    return first


def _check_evaluate(
    problem: Problem,
    inputs: Tensor,
    one_by_one: Tensor,
    rtol: float,
) -> Tensor:
    """Return the outputs of all steps in one call, once it is sure that they are those of the steps one by one."""
    steps = problem.step_range(0, len(inputs))
    passed_inputs = inputs.clone()
    together = problem.evaluate(steps, passed_inputs).clone()
    require(
        is_same(passed_inputs, inputs),
        "evaluate modified its inputs; return new tensors, as `x + 1` does and `x += 1` does not",
    )
    again = problem.evaluate(steps, passed_inputs)
    require(
        is_close(again, together, rtol),
        "evaluate gave two answers to the same question; let noise belong to the step, as "
        "forerun.engine.numerics.noise does, and switch layers such as dropout off with model.eval()",
    )
    single = problem.evaluate(steps[:1], passed_inputs[:1])
    require(
        is_close(together, one_by_one, rtol) and is_close(single, one_by_one[:1], rtol),
        "evaluate gave other outputs for a batch of steps than for its steps one by one; let each step depend on its "
        "own input alone, and use steps[k] for input k",
    )
    every_other = problem.evaluate(steps[::2], passed_inputs[::2])
    require(
        is_close(every_other, one_by_one[::2], rtol),
        "evaluate gave other outputs for every other step than for all steps; steps need not be contiguous: "
        "use steps[k] for input k, not steps[0] + k",
    )
    return together


def _check_samples(
    problem: Problem,
    inputs: Tensor,
    outputs: Tensor,
    rtol: float,
) -> None:
    """Check that the other samples do not notice when the first one is replaced."""
    batch = problem.input_layout.batch
    dims = len(batch)
    if batch.numel() < 2 or not dims:
        return
    changed = inputs.clone().flatten(1, dims)
    changed[:, 0] = changed[:, 1].flip(0)  # of another step, as the samples may begin alike
    steps = problem.step_range(0, len(inputs))
    outputs_of_changed = problem.evaluate(steps, changed.reshape(inputs.shape))
    other_samples = outputs_of_changed.flatten(1, dims)[:, 1:]
    expected = outputs.flatten(1, dims)[:, 1:]
    require(
        is_close(other_samples, expected, rtol),
        f"the process says batch_dims = {dims}, but the outputs of a sample follow the input of another; evaluate "
        "every sample by itself, or set batch_dims = 0",
    )


def _check_affine(
    problem: Problem,
    start: int,
    states: list[Tree],
    outputs: Tensor,
) -> None:
    """Check that the closed form of the steps from `start` on is `advance`, to rounding."""
    outputs, states = outputs[start:], states[start:]
    maps = problem.process.affine(problem.step_range(start, start + len(outputs)))
    if maps is None:
        return
    if not is_same(problem.process.observe(states[0]), states[0]):
        raise ContractBroken(
            "affine is for processes whose input is the state; return None from it, or drop observe",
        )
    for name, factor in (("state", maps.state), ("output", maps.output)):
        require(
            factor.shape == (len(outputs),),
            f"affine gave {name} of shape {list(factor.shape)} for {len(outputs)} steps; give one number a step, (W,)",
        )
    inputs = torch.stack([problem.observe(state) for state in states])
    row_shape = (-1, *[1] * (inputs.dim() - 1))
    a = maps.state.to(inputs).reshape(row_shape)
    b = maps.output.to(inputs).reshape(row_shape)
    closed = a * inputs[:-1] + b * outputs
    if maps.shift is not None:
        closed = closed + problem.input_layout.pack(maps.shift, len(outputs))
    stepped_inputs = []
    for index, output in enumerate(outputs):
        next_state = problem.advance(start + index, states[index], output)
        stepped_inputs.append(problem.observe(next_state))
    require(
        is_close(closed, torch.stack(stepped_inputs), 64 * _coarsest_rounding(problem)),
        "affine and advance disagree; affine must give a, b, c with advance(i, x, o) = a x + b o + c in the precision "
        "of the state, or return None",
    )


def _coarsest_rounding(problem: Problem) -> float:
    """Return the rounding of the coarsest dtype among inputs and outputs; zero for whole numbers."""
    dtypes = {*problem.input_layout.dtypes, *problem.output_layout.dtypes}
    roundings = [torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point]
    return max(roundings, default=0.0)
