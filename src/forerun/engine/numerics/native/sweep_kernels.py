"""The kernels of sweeps: outputs corrected by their slopes, and advanced in closed form, in one pass over the steps.

m_i = x_i - u_i,    y_i = o_i + S_i m_i,    x_{i+1} = a_i x_i + b_i y_i + c_i
"""

from __future__ import annotations

from typing import Any

from forerun.engine.numerics.native.compile_kernel import compile_kernel

Array = Any  # of numpy
Arrays = tuple[Array, Array, Array]
Maps = tuple[Array, Array]


@compile_kernel
def sweep_pointwise(maps: Maps, linear: Arrays, swept: Arrays) -> None:
    """Sweep with one slope an element, all `(W, N)`; without slopes or shifts where these hold no steps.

    Args:
        maps: `a` and `b` `(2, W)`, and `c`.
        linear: `o`, `S` and `u`.
        swept: `x`, `y` and `m`, to be written; `x` has one step more, and its first is there already.
    """
    factors, shifts = maps
    outputs, slopes, evaluated = linear
    inputs, corrected, moves = swept
    length, width = outputs.shape
    for step in range(length):
        state_factor, output_factor = factors[0, step], factors[1, step]
        for column in range(width):
            state = inputs[step, column]
            move = state - evaluated[step, column]
            output = outputs[step, column]
            if len(slopes):
                output += slopes[step, column] * move
            next_state = state_factor * state + output_factor * output
            if len(shifts):
                next_state += shifts[step, column]
            inputs[step + 1, column] = next_state
            moves[step, column] = move
            corrected[step, column] = output


@compile_kernel
def sweep_grouped(maps: Maps, linear: Arrays, swept: Arrays) -> None:
    """Sweep with one slope `(W, G)` for the columns `(W, G, K)` of a group; otherwise as `sweep_pointwise`."""
    factors, shifts = maps
    outputs, slopes, evaluated = linear
    inputs, corrected, moves = swept
    length, groups, width = outputs.shape
    for step in range(length):
        state_factor, output_factor = factors[0, step], factors[1, step]
        for group in range(groups):
            slope = slopes[step, group]
            for column in range(width):
                state = inputs[step, group, column]
                move = state - evaluated[step, group, column]
                output = outputs[step, group, column] + slope * move
                next_state = state_factor * state + output_factor * output
                if len(shifts):
                    next_state += shifts[step, group, column]
                inputs[step + 1, group, column] = next_state
                moves[step, group, column] = move
                corrected[step, group, column] = output


@compile_kernel
def sweep_dense(maps: Maps, linear: Arrays, swept: Arrays) -> None:
    """Sweep with a matrix `(W, B, D, D)` for the columns `(W, B, D)` of a sample; otherwise as `sweep_pointwise`."""
    factors, shifts = maps
    outputs, slopes, evaluated = linear
    inputs, corrected, moves = swept
    length, batch, width = outputs.shape
    for step in range(length):
        state_factor, output_factor = factors[0, step], factors[1, step]
        for sample in range(batch):
            state, move = inputs[step, sample], moves[step, sample]
            matrix = slopes[step, sample]
            for column in range(width):
                move[column] = state[column] - evaluated[step, sample, column]
            for row in range(width):
                output = outputs[step, sample, row]
                for column in range(width):
                    output += matrix[row, column] * move[column]
                next_state = state_factor * state[row] + output_factor * output
                if len(shifts):
                    next_state += shifts[step, sample, row]
                inputs[step + 1, sample, row] = next_state
                corrected[step, sample, row] = output
