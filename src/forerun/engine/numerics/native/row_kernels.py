"""The kernels of rounds: secants, sweeps with one slope a sample, and paths of outputs as they are, in closed form.

They are called by the addresses of their arrays, as making an array of numpy takes longer than a small sweep. All
arrays are contiguous; rows hold `G` samples of `K` columns.
"""

from __future__ import annotations

import math
from typing import Any, Final

from numba.np.numpy_support import carray

from forerun.engine.numerics.native.compile_kernel import KernelSource, compile_kernel

Address = Any  # of numbers of one dtype
Array = Any  # of numpy

SMALLEST_SQUARE: Final = 1e-200  # of a row of float64, below which it is scaled first
LARGEST_SQUARE: Final = 1e200


def fit_secants(  # noqa: PLR0917, addresses
    inputs: Address,
    outputs: Address,
    older_inputs: Address,
    older_outputs: Address,
    slopes: Address,
    rows: int,
    width: int,
    bound: float,
) -> None:
    """Write `s = <o - o', u - u'> / |u - u'|^2` of every row, 0 where it is beyond the bound or not a number."""
    u, o = carray(inputs, (rows, width)), carray(outputs, (rows, width))
    older_u, older_o = carray(older_inputs, (rows, width)), carray(older_outputs, (rows, width))
    s = carray(slopes, (rows,))
    for row in range(rows):
        product = u[row, 0] * 0
        square = product
        for column in range(width):
            change = u[row, column] - older_u[row, column]
            product += (o[row, column] - older_o[row, column]) * change
            square += change * change
        slope = product / square
        s[row] = slope if abs(slope) <= bound else 0.0


@compile_kernel
def square_row(row: Array, smallest: float) -> tuple[float, float]:
    """Return a scale, and the sum of the squares of a row over it: one, unless its squares may be no numbers."""
    square = 0.0
    for column in range(len(row)):
        number = float(row[column])
        square += number * number
    if SMALLEST_SQUARE < square < LARGEST_SQUARE:
        return 1.0, square
    scale, square = smallest, 0.0
    for column in range(len(row)):
        scale = max(scale, abs(row[column]))
    for column in range(len(row)):
        quotient = row[column] / scale
        square += quotient * quotient
    return scale, square


def measure_norms(rows: Address, norms: Address, count: int, width: int, smallest: float) -> None:  # noqa: PLR0917
    """Write the Euclidean norm of every row, whose squares may underflow."""
    x, n = carray(rows, (count, width)), carray(norms, (count,))
    for row in range(count):
        scale, square = square_row(x[row], smallest)
        n[row] = scale * math.sqrt(square)


def fit_changes(  # noqa: PLR0917, addresses
    changes: Address,
    output_changes: Address,
    slopes: Address,
    squares: Address,
    count: int,
    width: int,
    smallest: float,
) -> None:
    """Write `<do, du> / |du|^2` of every row, 0 where that is not a number, and `|du|^2` over the square of a scale."""
    du, do = carray(changes, (count, width)), carray(output_changes, (count, width))
    s, d = carray(slopes, (count,)), carray(squares, (count,))
    for row in range(count):
        scale, square = square_row(du[row], smallest)
        product = 0.0
        if scale == 1:
            for column in range(width):
                product += float(do[row, column]) * float(du[row, column])
        else:
            for column in range(width):
                product += do[row, column] / scale * (du[row, column] / scale)
        slope = product / square
        s[row] = slope if abs(slope) < math.inf else 0.0
        d[row] = square


def sweep_rows(  # noqa: PLR0917, addresses
    state_factors: Address,
    output_factors: Address,
    shifts: Address,
    first: Address,
    outputs: Address,
    slopes: Address,
    evaluated: Address,
    inputs: Address,
    corrected: Address,
    moves: Address,
    length: int,
    groups: int,
    width: int,
    is_shifted: int,
) -> None:
    """Write `m_i = x_i - u_i`, `y_i = o_i + s_i m_i` and `x_{i+1} = a_i x_i + b_i y_i + c_i`, from the first `x_0`."""
    a, b = carray(state_factors, (length,)), carray(output_factors, (length,))
    shape = (length, groups, width)
    c, o, u = carray(shifts, shape), carray(outputs, shape), carray(evaluated, shape)
    s, x = carray(slopes, (length, groups)), carray(inputs, (length + 1, groups, width))
    y, m = carray(corrected, shape), carray(moves, shape)
    x[0] = carray(first, (groups, width))
    for step in range(length):
        for group in range(groups):
            slope = s[step, group]
            for column in range(width):
                move = x[step, group, column] - u[step, group, column]
                output = o[step, group, column] + slope * move
                m[step, group, column] = move
                y[step, group, column] = output
                x[step + 1, group, column] = a[step] * x[step, group, column] + b[step] * output
            if is_shifted:
                for column in range(width):
                    x[step + 1, group, column] += c[step, group, column]


def advance_rows(  # noqa: PLR0917, addresses
    state_factors: Address,
    output_factors: Address,
    shifts: Address,
    first: Address,
    outputs: Address,
    inputs: Address,
    length: int,
    width: int,
    is_shifted: int,
    is_held: int,
) -> None:
    """Write `x_{i+1} = a_i x_i + b_i o_i + c_i` from the first `x_0`, with one output for all steps if it is held."""
    a, b = carray(state_factors, (length,)), carray(output_factors, (length,))
    c, o = carray(shifts, (length, width)), carray(outputs, (length, width))
    x = carray(inputs, (length + 1, width))
    x[0] = carray(first, (width,))
    for step in range(length):
        place = 0 if is_held else step
        for column in range(width):
            x[step + 1, column] = a[step] * x[step, column] + b[step] * o[place, column]
        if is_shifted:
            for column in range(width):
                x[step + 1, column] += c[step, column]


ROUND_KERNELS: Final = {
    "fit_secants": KernelSource(fit_secants, arrays=5, counts=2, numbers=1),
    "measure_norms": KernelSource(measure_norms, arrays=2, counts=2, numbers=1),
    "fit_changes": KernelSource(fit_changes, arrays=4, counts=2, numbers=1),
    "sweep_rows": KernelSource(sweep_rows, arrays=10, counts=4),
    "advance_rows": KernelSource(advance_rows, arrays=6, counts=4),
}
