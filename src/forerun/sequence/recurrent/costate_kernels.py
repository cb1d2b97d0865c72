"""Kernels of the backward pass of the loop over a cell of `torch.nn`. They need numba; the loader alone imports them.

From the last step back, the costate `l` of a state is the gradient of the loss by that state alone and what comes back
from the step after it. A step turns it into gradients by `a = W x + b` and `u = U h + b'`, and those by `u` into what
goes on to the state before: `l <- (what passes by the gates) + U^T du`.
"""

from __future__ import annotations

import math
from typing import Any

from forerun.engine.numerics.native.compile_kernel import compile_kernel

Array = Any  # of numpy
Arrays = tuple[Array, Array]


@compile_kernel
def multiply_gradient(U: Array, du: Array, costate: Array) -> None:
    """Add `U^T du` to a costate."""
    for row in range(len(U)):
        for column in range(U.shape[1]):
            costate[column] += U[row, column] * du[row]


@compile_kernel
def pull_gru(
    U: Array,
    forward: Arrays,
    costates: Array,
    gradients: Arrays,
) -> None:
    """Write the gradients of a GRU.

    Args:
        U: `(3 H, H)`.
        forward: states `(T + 1, B, H)` and gates `(T, B, 4 H)`, as `loop_gru` left them.
        costates: `(T + 1, B, H)`, the gradients by the states alone, the first zero; the costates are added.
        gradients: by `a` and by `u`, `(T, B, 3 H)` each, to be written.
    """
    path, gates = forward
    da, du = gradients
    width = path.shape[2]
    one = path.dtype.type(1)
    for step in range(len(da) - 1, -1, -1):
        for sample in range(da.shape[1]):
            h, gate = path[step, sample], gates[step, sample]
            costate, before = costates[step + 1, sample], costates[step, sample]
            da_step, du_step = da[step, sample], du[step, sample]
            for index in range(width):
                r, z, u_n, n = gate[index], gate[width + index], gate[2 * width + index], gate[3 * width + index]
                dn = costate[index] * (one - z) * (one - n * n)
                da_step[index] = dn * u_n * r * (one - r)
                da_step[width + index] = costate[index] * (h[index] - n) * z * (one - z)
                da_step[2 * width + index] = dn
                du_step[index], du_step[width + index] = da_step[index], da_step[width + index]
                du_step[2 * width + index] = dn * r
                before[index] += costate[index] * z
            multiply_gradient(U, du_step, before)


@compile_kernel
def pull_lstm(
    U: Array,
    forward: Arrays,
    costates: Array,
    gradients: Arrays,
) -> None:
    """Write the gradients of an LSTM, by `a`; those by `u` are the same. See `pull_gru`."""
    path, gates = forward
    da = gradients[0]
    width = path.shape[2] // 2
    one = path.dtype.type(1)
    for step in range(len(da) - 1, -1, -1):
        for sample in range(da.shape[1]):
            state, next_state, gate = path[step, sample], path[step + 1, sample], gates[step, sample]
            costate, before, da_step = costates[step + 1, sample], costates[step, sample], da[step, sample]
            for index in range(width):
                i, f, g, o = gate[index], gate[width + index], gate[2 * width + index], gate[3 * width + index]
                tanh_c = math.tanh(next_state[width + index])
                dh = costate[index]
                dc = costate[width + index] + dh * o * (one - tanh_c * tanh_c)
                da_step[index] = dc * g * i * (one - i)
                da_step[width + index] = dc * state[width + index] * f * (one - f)
                da_step[2 * width + index] = dc * i * (one - g * g)
                da_step[3 * width + index] = dh * tanh_c * o * (one - o)
                before[width + index] += dc * f
            multiply_gradient(U, da_step, before)


@compile_kernel
def pull_tanh(
    U: Array,
    forward: Arrays,
    costates: Array,
    gradients: Arrays,
) -> None:
    """Write the gradients of an Elman cell, by `a`; those by `u` are the same. See `pull_gru`."""
    path, da = forward[0], gradients[0]
    one = path.dtype.type(1)
    for step in range(len(da) - 1, -1, -1):
        for sample in range(da.shape[1]):
            next_h, da_step, costate = path[step + 1, sample], da[step, sample], costates[step + 1, sample]
            for index in range(len(next_h)):
                da_step[index] = costate[index] * (one - next_h[index] * next_h[index])
            multiply_gradient(U, da_step, costates[step, sample])


@compile_kernel
def pull_relu(
    U: Array,
    forward: Arrays,
    costates: Array,
    gradients: Arrays,
) -> None:
    """Write the gradients of an Elman cell with rectified units, by `a`; see `pull_tanh`."""
    path, da = forward[0], gradients[0]
    zero = path.dtype.type(0)
    for step in range(len(da) - 1, -1, -1):
        for sample in range(da.shape[1]):
            next_h, da_step, costate = path[step + 1, sample], da[step, sample], costates[step + 1, sample]
            for index in range(len(next_h)):
                da_step[index] = costate[index] if next_h[index] > zero else zero
            multiply_gradient(U, da_step, costates[step, sample])
