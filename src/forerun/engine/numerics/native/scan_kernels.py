"""The kernels of scans: plain loops over the steps, on slopes, shifts and a start, and the path that they write."""

from __future__ import annotations

from typing import Any

from forerun.engine.numerics.native.compile_kernel import compile_kernel

Array = Any  # of numpy
Arrays = tuple[Array, Array, Array]


@compile_kernel
def scan_pointwise(maps: Arrays, path: Array, reverse: bool) -> None:
    """Write the path of `x_{i+1} = a_i x_i + b_i`; all are `(T, N)`."""
    slopes, shifts, start = maps
    length, width = shifts.shape
    previous = start
    for index in range(length):
        step = length - 1 - index if reverse else index
        for column in range(width):
            path[step, column] = slopes[step, column] * previous[column] + shifts[step, column]
        previous = path[step]


@compile_kernel
def scan_grouped(maps: Arrays, path: Array, reverse: bool) -> None:
    """Write the path of `x_{i+1} = a_i x_i + b_i`, one slope `(T, G)` for the columns `(T, G, K)` of a group."""
    slopes, shifts, start = maps
    length, groups, width = shifts.shape
    previous = start
    for index in range(length):
        step = length - 1 - index if reverse else index
        for group in range(groups):
            slope = slopes[step, group]
            for column in range(width):
                path[step, group, column] = slope * previous[group, column] + shifts[step, group, column]
        previous = path[step]


@compile_kernel
def scan_dense(maps: Arrays, path: Array, reverse: bool) -> None:
    """Write the path of `x_{i+1} = A_i x_i + b_i`, `A` being `(T, B, D, D)`, however it lies in memory."""
    slopes, shifts, start = maps
    length, batch, width = shifts.shape
    for index in range(length):
        step = length - 1 - index if reverse else index
        before = step + 1 if reverse else step - 1
        for sample in range(batch):
            state = path[before, sample] if index else start[sample]
            matrix = slopes[step, sample]
            for row in range(width):
                total = shifts[step, sample, row]
                for column in range(width):
                    total += matrix[row, column] * state[column]
                path[step, sample, row] = total


@compile_kernel
def scan_transposed(maps: Arrays, path: Array, reverse: bool) -> None:
    """Write the path of `x_{i+1} = A_i^T x_i + b_i`."""
    slopes, shifts, start = maps
    length, batch, width = shifts.shape
    for index in range(length):
        step = length - 1 - index if reverse else index
        before = step + 1 if reverse else step - 1
        for sample in range(batch):
            state = path[before, sample] if index else start[sample]
            matrix = slopes[step, sample]
            next_state = path[step, sample]
            for column in range(width):
                next_state[column] = shifts[step, sample, column]
            for row in range(width):
                factor = state[row]
                for column in range(width):
                    next_state[column] += matrix[row, column] * factor
