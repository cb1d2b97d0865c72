"""The kernels of rounds: secants, sweeps with one slope a sample, and paths of outputs as they are, in closed form.

They are called by the addresses of their arrays, as making an array of numpy takes longer than a small sweep. All
arrays are contiguous; rows hold `G` samples of `K` columns.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from numba import types
from numba.core.decorators import cfunc
from numba.np.numpy_support import carray

Address = Any  # of numbers of one dtype
RowKernel = Callable[..., None]

NUMBER_TYPES: Final = {"float32": types.float32, "float64": types.float64}
COMPILED_KERNELS: Final[list[Any]] = []  # kept, as the code at an address lives no longer than its function
FAST_MATH: Final = {"contract", "reassoc"}


@cache
def load_row_kernel(name: str, dtype: str) -> RowKernel:
    """Return a kernel for numbers of a dtype, compiled now, or read from where it was kept."""
    function, pointer_count, count_count, number_count = ROW_KERNELS[name]
    number = NUMBER_TYPES[dtype]
    pointers = [types.CPointer(number)] * pointer_count  # type: ignore[no-untyped-call]
    signature = types.void(*pointers, *[types.int64] * count_count, *[types.float64] * number_count)
    compiled = _compile_kernel(function, signature)
    prototype = ctypes.CFUNCTYPE(
        None,
        *[ctypes.c_void_p] * pointer_count,
        *[ctypes.c_int64] * count_count,
        *[ctypes.c_double] * number_count,
    )
    COMPILED_KERNELS.append(compiled)
    return prototype(compiled.address)


def _compile_kernel(function: RowKernel, signature: Any) -> Any:
    settings: dict[str, Any] = {"fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return cfunc(signature, cache=True, **settings)(function)
    except RuntimeError:  # neither the package nor the user's folder can be written to
        return cfunc(signature, **settings)(function)


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


def measure_norms(rows: Address, norms: Address, count: int, width: int, smallest: float) -> None:  # noqa: PLR0917
    """Write the Euclidean norm of every row, whose squares may underflow."""
    x, n = carray(rows, (count, width)), carray(norms, (count,))
    for row in range(count):
        scale = smallest
        for column in range(width):
            scale = max(scale, abs(x[row, column]))
        square = 0.0
        for column in range(width):
            quotient = x[row, column] / scale
            square += quotient * quotient
        n[row] = scale * math.sqrt(square)


def fit_changes(  # noqa: PLR0917, addresses
    changes: Address, output_changes: Address, slopes: Address, sizes: Address, count: int, width: int, smallest: float
) -> None:
    """Write `<do, du> / |du|^2` of every row, 0 where that is not a number, and the largest element of `du` by size."""
    du, do = carray(changes, (count, width)), carray(output_changes, (count, width))
    s, largest = carray(slopes, (count,)), carray(sizes, (count,))
    for row in range(count):
        size = smallest * 0
        for column in range(width):
            size = max(size, abs(du[row, column]))
        scale = max(size, smallest)
        product, square = 0.0, 0.0
        for column in range(width):
            quotient = du[row, column] / scale
            product += do[row, column] / scale * quotient
            square += quotient * quotient
        slope = product / square
        s[row] = slope if abs(slope) < math.inf else 0.0
        largest[row] = size


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


def grow_distances(  # noqa: PLR0917, addresses
    propagators: Address,
    left: Address,
    right: Address,
    sources: Address,
    first: Address,
    distances: Address,
    length: int,
    samples: int,
    rank: int,
    width: int,
    is_scalar: int,
) -> None:
    """Write `d_{i+1} = A_i d_i + sum_k w_ik <p_ik, d_i> + s_i` from `d_0`, `A` one number a sample or an element."""
    factors = carray(propagators, (length, samples, 1 if is_scalar else width))
    w, p = carray(left, (length, samples, rank, width)), carray(right, (length, samples, rank, width))
    s, d = carray(sources, (length, samples, width)), carray(distances, (length, samples, width))
    before = carray(first, (samples, width))
    for step in range(length):
        for sample in range(samples):
            state, end = before[sample], d[step, sample]
            for column in range(width):
                factor = factors[step, sample, 0 if is_scalar else column]
                end[column] = factor * state[column] + s[step, sample, column]
            for index in range(rank):
                weight = state[0] * 0
                for column in range(width):
                    weight += p[step, sample, index, column] * state[column]
                for column in range(width):
                    end[column] += weight * w[step, sample, index, column]
        before = d[step]


def carry_matrices(  # noqa: PLR0917, addresses
    changes: Address,
    output_changes: Address,
    directions: Address,
    first: Address,
    matrices: Address,
    length: int,
    samples: int,
    count: int,
    width: int,
    height: int,
) -> None:
    """Write `J <- J + (do - J du) p^T` of every change in turn, from the first `J`, as it stands after each step."""
    du, p = carray(changes, (length, samples, count, width)), carray(directions, (length, samples, count, width))
    do = carray(output_changes, (length, samples, count, height))
    jacobians = carray(matrices, (length, samples, height, width))
    before = carray(first, (samples, height, width))
    for step in range(length):
        for sample in range(samples):
            jacobian = jacobians[step, sample]
            jacobian[:] = before[sample]
            for index in range(count):
                change, direction = du[step, sample, index], p[step, sample, index]
                for row in range(height):
                    surprise = do[step, sample, index, row]
                    for column in range(width):
                        surprise -= jacobian[row, column] * change[column]
                    for column in range(width):
                        jacobian[row, column] += surprise * direction[column]
        before = jacobians[step]


# each with its numbers of addresses, counts and other numbers
ROW_KERNELS: Final[dict[str, tuple[RowKernel, int, int, int]]] = {
    "fit_secants": (fit_secants, 5, 2, 1),
    "measure_norms": (measure_norms, 2, 2, 1),
    "fit_changes": (fit_changes, 4, 2, 1),
    "sweep_rows": (sweep_rows, 10, 4, 0),
    "advance_rows": (advance_rows, 6, 4, 0),
    "grow_distances": (grow_distances, 6, 5, 0),
    "carry_matrices": (carry_matrices, 5, 5, 0),
}
