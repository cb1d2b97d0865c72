"""Kernels of the loop over a cell of `torch.nn`: all steps in one call. They need numba; the loader alone imports them.

A step computes `u = U h + b'`, with `U` transposed so that a row of it acts on one element of `h`, and then its gates
from `u` and from `a = W x + b`, which all steps have had computed together. The gates stay in the memory of `u`, for
the backward pass; where there is memory for one step alone, every step writes over those of the one before.
"""

from __future__ import annotations

import math
from typing import Any

from forerun.engine.numerics.native.compile_kernel import compile_kernel

Array = Any  # of numpy


@compile_kernel
def multiply_state(weights: tuple[Array, Array], h: Array, u: Array) -> None:
    """Write `u = U h + b'`."""
    U, bias = weights
    for column in range(len(bias)):
        u[column] = bias[column]
    for row in range(len(U)):
        for column in range(len(bias)):
            u[column] += U[row, column] * h[row]


@compile_kernel
def loop_gru(
    prepared: Array,
    weights: tuple[Array, Array],
    path: Array,
    gates: Array,
) -> None:
    """Write the states `(T + 1, B, H)` of a GRU; the first are there already.

    Args:
        prepared: `a`, `(T, B, 3 H)`.
        weights: `U^T` `(H, 3 H)` and `b'` `(3 H,)`.
        path: the states.
        gates: `(T, B, 4 H)` or `(1, B, 4 H)`, to be written: `r`, `z`, `u_n` and `n`.
    """
    width = path.shape[2]
    one = path.dtype.type(1)
    for step in range(len(prepared)):
        for sample in range(prepared.shape[1]):
            h, next_h, a = path[step, sample], path[step + 1, sample], prepared[step, sample]
            u = gates[step % len(gates), sample]
            multiply_state(weights, h, u)
            for index in range(width):
                r = one / (one + math.exp(-a[index] - u[index]))
                z = one / (one + math.exp(-a[width + index] - u[width + index]))
                n = math.tanh(a[2 * width + index] + r * u[2 * width + index])
                u[index], u[width + index], u[3 * width + index] = r, z, n
                next_h[index] = n + z * (h[index] - n)


@compile_kernel
def loop_lstm(
    prepared: Array,
    weights: tuple[Array, Array],
    path: Array,
    gates: Array,
) -> None:
    """Write the states `(h, c)` `(T + 1, B, 2 H)` of an LSTM, and its gates `i`, `f`, `g` and `o`; see `loop_gru`."""
    width = path.shape[2] // 2
    one = path.dtype.type(1)
    for step in range(len(prepared)):
        for sample in range(prepared.shape[1]):
            state, next_state, a = path[step, sample], path[step + 1, sample], prepared[step, sample]
            u = gates[step % len(gates), sample]
            multiply_state(weights, state, u)
            for index in range(width):
                i = one / (one + math.exp(-a[index] - u[index]))
                f = one / (one + math.exp(-a[width + index] - u[width + index]))
                g = math.tanh(a[2 * width + index] + u[2 * width + index])
                o = one / (one + math.exp(-a[3 * width + index] - u[3 * width + index]))
                c = f * state[width + index] + i * g
                u[index], u[width + index], u[2 * width + index], u[3 * width + index] = i, f, g, o
                next_state[index] = o * math.tanh(c)
                next_state[width + index] = c


@compile_kernel
def loop_tanh(
    prepared: Array,
    weights: tuple[Array, Array],
    path: Array,
    gates: Array,
) -> None:
    """Write the states `(T + 1, B, H)` of an Elman cell; see `loop_gru`."""
    for step in range(len(prepared)):
        for sample in range(prepared.shape[1]):
            next_h, a, u = path[step + 1, sample], prepared[step, sample], gates[step % len(gates), sample]
            multiply_state(weights, path[step, sample], u)
            for index in range(len(next_h)):
                next_h[index] = math.tanh(a[index] + u[index])


@compile_kernel
def loop_relu(
    prepared: Array,
    weights: tuple[Array, Array],
    path: Array,
    gates: Array,
) -> None:
    """Write the states `(T + 1, B, H)` of an Elman cell with rectified units; see `loop_gru`."""
    zero = path.dtype.type(0)
    for step in range(len(prepared)):
        for sample in range(prepared.shape[1]):
            next_h, a, u = path[step + 1, sample], prepared[step, sample], gates[step % len(gates), sample]
            multiply_state(weights, path[step, sample], u)
            for index in range(len(next_h)):
                inner = a[index] + u[index]
                if inner < zero:  # nan is not
                    inner = zero
                next_h[index] = inner
