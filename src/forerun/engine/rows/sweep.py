"""The sweep: advance in order over the window, each output corrected by its slope.

With `u_i` the input that step `i` was evaluated at, `o_i` its output and `S_i` its slope:

    x_{i+1} = advance(i, x_i, o_i + S_i (observe(x_i) - u_i))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from forerun.engine.numerics.native.rows import advance_rows, sweep_rows
from forerun.engine.numerics.native.sweeps import NativeSweep, sweep_natively
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows.affine_maps import AffineMaps
from forerun.engine.rows.linear_outputs import LinearOutputs, apply_slopes
from forerun.engine.rows.problem import Problem
from forerun.engine.rows.state_sequences import RowStates

MEMORY_BOUND_ELEMENTS = 4096  # elements of a step from which on a sweep is bound by memory


@dataclass(frozen=True)
class SweepResult:
    """The path of a sweep over `W` steps."""

    states: Sequence[Tree]  # x_{start+1} .. x_stop
    inputs: Tensor  # (W + 1, *batch, D): the inputs of x_start .. x_stop
    outputs: Tensor  # (W, *batch, E): the outputs as corrected
    moves: Tensor  # (W, *batch, D): how far each input lies from the one that was evaluated


def sweep_window(
    problem: Problem,
    start: int,
    state: Tree,
    *,
    outputs: Tensor,
    slopes: Tensor | None = None,
    evaluated_inputs: Tensor,
) -> SweepResult:
    """Advance from the state of step `start` over the steps of `outputs`.

    Args:
        problem: the process, in rows.
        start: the first step.
        state: its state.
        outputs: `(W, *batch, E)`, as evaluated at the inputs `evaluated_inputs`.
        slopes: scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, E, D)`; None is zero.
        evaluated_inputs: `(W, *batch, D)`, the inputs at which the outputs were evaluated.
    """
    linear = LinearOutputs(outputs, evaluated_inputs, slopes)
    maps = problem.affine_maps(start, outputs.shape[0])
    if maps is None:
        return _sweep_in_order(problem, start, state, linear)
    first = problem.observe(state)
    native_sweep = _sweep_natively(problem, maps, first, linear)
    pointwise = slopes is None or slopes.shape[-1] == 1
    if native_sweep is not None:
        path = SweepResult(RowStates(problem.input_layout, native_sweep.inputs[1:]), *native_sweep)
    elif pointwise and first.numel() >= MEMORY_BOUND_ELEMENTS:
        path = _sweep_wide_rows(problem, maps, first, linear)
    else:
        path = _sweep_by_scan(problem, maps, first, linear)
    if outputs.shape[0]:
        problem.require_same_steps(start, state, path.outputs, path.inputs)
    return path


def advance_outputs(
    problem: Problem,
    start: int,
    state: Tree,
    outputs: Tensor,
) -> tuple[Sequence[Tree], Tensor]:
    """Return the path of the steps from `start` on by outputs as they are: its states, and the inputs of a sweep.

    Args:
        problem: the process, in rows.
        start: the first step.
        state: its state.
        outputs: `(W, *batch, E)`.
    """
    maps = problem.affine_maps(start, outputs.shape[0])
    if maps is not None:
        factors = (maps.state_factors, maps.output_factors)
        first = problem.observe(state)
        inputs = advance_rows(factors, maps.shift, first, outputs=outputs, memory=problem.memory)
        if inputs is not None:
            problem.require_same_steps(start, state, outputs, inputs)
            return RowStates(problem.input_layout, inputs[1:]), inputs
    if maps is None:
        return _advance_in_order(problem, start, state, outputs)
    layout = problem.input_layout
    # without slopes it does not matter where the outputs were evaluated
    anywhere = outputs.new_zeros(()).expand(outputs.shape[0], *layout.batch, layout.width)
    path = sweep_window(problem, start, state, outputs=outputs, evaluated_inputs=anywhere)
    return path.states, path.inputs


def _advance_in_order(
    problem: Problem,
    start: int,
    state: Tree,
    outputs: Tensor,
) -> tuple[Sequence[Tree], Tensor]:
    """Return the path by `advance`, step by step."""
    states, inputs = [], [problem.observe(state)]
    for index, output in enumerate(outputs.unbind()):
        advance = problem.advance if index else problem.advance_first
        state = advance(start + index, state, output)
        states.append(state)
        inputs.append(problem.observe(state))
    return states, problem.memory.stack(inputs)


def _sweep_natively(
    problem: Problem,
    maps: AffineMaps,
    first: Tensor,
    linear: LinearOutputs,
) -> NativeSweep | None:
    """Sweep by the native kernel that fits the slopes; None where torch shall."""
    factors = (maps.state_factors, maps.output_factors)
    if linear.slopes is None:
        inputs = advance_rows(factors, maps.shift, first, outputs=linear.outputs, memory=problem.memory)
        if inputs is None:
            return None
        moves = problem.memory.allocate(linear.inputs.shape, linear.inputs)
        return NativeSweep(inputs, linear.outputs, torch.sub(inputs[:-1], linear.inputs, out=moves))
    for sweep in (partial(sweep_rows, memory=problem.memory), sweep_natively):
        swept = sweep(
            factors,
            maps.shift,
            first,
            outputs=linear.outputs,
            slopes=linear.slopes,
            evaluated_inputs=linear.inputs,
        )
        if swept is not None:
            return swept
    return None


def _sweep_in_order(
    problem: Problem,
    start: int,
    state: Tree,
    linear: LinearOutputs,
) -> SweepResult:
    """Sweep by `advance`, step by step."""
    slopes = None
    if linear.slopes is not None:
        slopes = linear.slopes.unbind()
    moves = problem.memory.allocate(linear.inputs.shape, linear.inputs)
    observed = problem.observe(state)
    states, outputs, inputs = [], [], [observed]
    rows = zip(linear.outputs.unbind(), linear.inputs.unbind(), moves.unbind(), strict=True)
    for index, (output, evaluated_input, move) in enumerate(rows):
        torch.sub(observed, evaluated_input, out=move)
        if slopes is not None:
            output = output + apply_slopes(slopes[index], move)
        advance = problem.advance if index else problem.advance_first
        state = advance(start + index, state, output)
        observed = problem.observe(state)
        states.append(state)
        outputs.append(output)
        inputs.append(observed)
    return SweepResult(
        states=states,
        inputs=problem.memory.stack(inputs),
        outputs=linear.outputs if slopes is None else problem.memory.stack(outputs),
        moves=moves,
    )


def _sweep_by_scan(
    problem: Problem,
    maps: AffineMaps,
    first: Tensor,
    linear: LinearOutputs,
) -> SweepResult:
    """Sweep by one scan of `x_{i+1} = (a_i + b_i S_i) x_i + b_i (o_i - S_i u_i) + c_i`."""
    slopes, constants = linear.slopes, linear.outputs
    if slopes is not None and len(linear):
        # the first step as it is written above: `S x - S u` would lose what a large slope multiplies
        first_correction = apply_slopes(slopes[0], first - linear.inputs[0])
        slopes = slopes.clone()
        slopes[0].zero_()
        constants = constants - apply_slopes(slopes, linear.inputs)
        constants[0].add_(first_correction)
    propagators = maps.compute_propagators(slopes)
    if maps.shift is None:
        shifts = maps.output_factors * constants
    else:
        shifts = torch.addcmul(maps.shift, maps.output_factors, constants)
    path = affine_scan(propagators, shifts, first, differentiable=False)
    inputs = torch.cat([first.unsqueeze(0), path])
    moves = inputs[:-1] - linear.inputs
    return SweepResult(
        states=RowStates(problem.input_layout, inputs[1:]),
        inputs=inputs,
        outputs=linear.correct_outputs(moves),
        moves=moves,
    )


def _sweep_wide_rows(
    problem: Problem,
    maps: AffineMaps,
    first: Tensor,
    linear: LinearOutputs,
) -> SweepResult:
    """Sweep row by row, where rows are so wide that time is memory traffic: each is finished while it is cached."""
    inputs = linear.outputs.new_empty((len(linear) + 1, *first.shape))
    moves = torch.empty_like(inputs[1:])
    outputs = linear.outputs
    if linear.slopes is not None:
        outputs = torch.empty_like(linear.outputs)
    inputs[0] = first
    rows = inputs.unbind()
    factors = zip(maps.state_factors.flatten(), maps.output_factors.flatten(), strict=True)
    for index, (state_factor, output_factor) in enumerate(factors):
        state, next_state = rows[index], rows[index + 1]
        move, output = moves[index], outputs[index]
        torch.sub(state, linear.inputs[index], out=move)
        if linear.slopes is not None:
            torch.addcmul(linear.outputs[index], linear.slopes[index], move, out=output)
        torch.mul(state, state_factor, out=next_state)
        next_state.addcmul_(output, output_factor)
        if maps.shift is not None:
            next_state.add_(maps.shift[index])
    return SweepResult(
        states=RowStates(problem.input_layout, inputs[1:]),
        inputs=inputs,
        outputs=outputs,
        moves=moves,
    )
