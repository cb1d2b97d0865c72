"""The sweep: advance in order over the window, each output corrected by its slope.

With `u_i` the input that step `i` was evaluated at, `o_i` its output and `S_i` its slope:

    x_{i+1} = advance(i, x_i, o_i + S_i (observe(x_i) - u_i))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.small_matrices import multiply_by_element, prefers_elements
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows.affine_maps import AffineMaps
from forerun.engine.rows.problem import Problem
from forerun.engine.rows.state_sequences import RowStates

WIDE = 4096  # elements of a step from which on a sweep is bound by memory


@dataclass(frozen=True)
class SweepResult:
    """What a sweep over `W` steps leaves behind."""

    states: Sequence[Tree]  # x_{start+1} .. x_stop
    inputs: Tensor  # (W + 1, *batch, D): the inputs of x_start .. x_stop
    outputs: Tensor  # (W, *batch, E): the outputs as corrected
    moves: Tensor  # (W, *batch, D): how far each input lies from the one that was evaluated


def apply_slopes(slopes: Tensor, moves: Tensor) -> Tensor:
    """`S m` for scalar `(..., 1)`, diagonal `(..., D)` or dense `(..., E, D)` slopes and moves `(..., D)`."""
    if slopes.dim() == moves.dim():
        return slopes * moves
    multiply = (
        multiply_by_element if prefers_elements(slopes.shape[-1], slopes.numel(), slopes.device) else torch.matmul
    )
    return multiply(slopes, moves.unsqueeze(-1)).squeeze(-1)


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
        outputs: `(W, *batch, E)`, as evaluated at the inputs `evaluated_inputs`.
        slopes: scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, E, D)`; None is zero.
        evaluated_inputs: `(W, *batch, D)`, the inputs at which the outputs were evaluated.
    """
    maps = problem.affine_maps(start, len(outputs))
    if maps is None:
        return _in_order(problem, start, state, outputs=outputs, slopes=slopes, evaluated_inputs=evaluated_inputs)
    return _by_scan(problem, maps, state, outputs=outputs, slopes=slopes, evaluated_inputs=evaluated_inputs)


def _in_order(
    problem: Problem, start: int, state: Tree, *, outputs: Tensor, slopes: Tensor | None, evaluated_inputs: Tensor
) -> SweepResult:
    states, used = [], []
    seen = problem.observe(state)
    inputs, moves = [seen], []
    for step, output, slope, anchor in zip(
        range(start, start + len(outputs)),
        outputs.unbind(),
        outputs.unbind() if slopes is None else slopes.unbind(),
        evaluated_inputs.unbind(),
        strict=True,
    ):
        moves.append(seen - anchor)
        used.append(output if slopes is None else output + apply_slopes(slope, moves[-1]))
        state = problem.advance(step, state, used[-1])
        seen = problem.observe(state)
        states.append(state)
        inputs.append(seen)
    corrected = outputs if slopes is None else torch.stack(used)
    return SweepResult(states, torch.stack(inputs), corrected, torch.stack(moves) if moves else evaluated_inputs)


def _by_scan(
    problem: Problem, maps: AffineMaps, state: Tree, *, outputs: Tensor, slopes: Tensor | None, evaluated_inputs: Tensor
) -> SweepResult:
    """The same as one scan: `x_{i+1} = (a_i + b_i S_i) x_i + b_i (o_i - S_i u_i) + c_i`."""
    first = problem.observe(state)
    if first.numel() >= WIDE and not (slopes is not None and slopes.shape[-1] > 1):
        return _in_cache(problem, maps, first, outputs=outputs, slopes=slopes, evaluated_inputs=evaluated_inputs)
    propagator, plain = maps.compute_propagators(slopes), outputs
    if slopes is not None and len(outputs):
        plain = outputs - apply_slopes(slopes, evaluated_inputs)
        # the first step as it is written above: `S x - S u` would lose what a large slope multiplies
        plain[0] = outputs[0] + apply_slopes(slopes[0], first - evaluated_inputs[0])
        propagator[:1] = maps.select_steps(maps.start, 1).compute_propagators(torch.zeros_like(slopes[:1]))
    shift = maps.output_factors * plain if maps.shift is None else torch.addcmul(maps.shift, maps.output_factors, plain)
    inputs = torch.cat([first.unsqueeze(0), affine_scan(propagator, shift, first, differentiable=False)])
    moves = inputs[:-1] - evaluated_inputs
    corrected = outputs if slopes is None else outputs + apply_slopes(slopes, moves)
    return SweepResult(RowStates(problem.input_layout, inputs[1:]), inputs, corrected, moves)


def _in_cache(
    problem: Problem,
    maps: AffineMaps,
    first: Tensor,
    *,
    outputs: Tensor,
    slopes: Tensor | None,
    evaluated_inputs: Tensor,
) -> SweepResult:
    """The same row by row, for rows so wide that time is memory traffic: each is finished while it is in the cache."""
    inputs = outputs.new_empty((len(outputs) + 1, *first.shape))
    moves, corrected = torch.empty_like(inputs[1:]), outputs if slopes is None else torch.empty_like(outputs)
    inputs[0] = first
    rows = inputs.unbind()
    for index, (keep, gain) in enumerate(zip(maps.state_factors.flatten(), maps.output_factors.flatten(), strict=True)):
        state, following, move, used = rows[index], rows[index + 1], moves[index], corrected[index]
        torch.sub(state, evaluated_inputs[index], out=move)
        if slopes is not None:
            torch.addcmul(outputs[index], slopes[index], move, out=used)
        torch.mul(state, keep, out=following)
        following.addcmul_(used, gain)
        if maps.shift is not None:
            following.add_(maps.shift[index])
    return SweepResult(RowStates(problem.input_layout, inputs[1:]), inputs, corrected, moves)
