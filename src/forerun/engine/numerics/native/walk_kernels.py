"""The kernels of the check's walk: changes of evaluations, the Jacobians that these show, and growing distances.

They are called by the addresses of their arrays, all of which are contiguous.
"""

from __future__ import annotations

from typing import Any, Final

from numba.np.numpy_support import carray

from forerun.engine.numerics.native.compile_kernel import KernelSource, compile_kernel
from forerun.engine.numerics.native.row_kernels import square_row

Address = Any  # of numbers of one dtype, or of places: int64
Array = Any  # of numpy

SMALLEST_SCALE: Final = 1e-300  # of a change


@compile_kernel
def subtract_rows(
    row: Array,
    older_row: Array,
    has_older: bool,
    change: Array,
) -> None:
    """Write the difference of two rows; zero where there is no older one."""
    for column in range(len(row)):
        change[column] = row[column] - older_row[column] if has_older else 0.0


@compile_kernel
def scale_direction(change: Array, direction: Array) -> bool:
    """Write `du / |du|^2`, zero where nothing changed, and return whether something did."""
    scale, square = square_row(change, SMALLEST_SCALE)
    factor = 1.0 / (square * scale) if square > 0 else 0.0
    if scale == 1:
        for column in range(len(change)):
            direction[column] = change[column] * factor
    else:
        for column in range(len(change)):
            direction[column] = change[column] / scale * factor
    return square > 0


@compile_kernel
def subtract_base(
    output_change: Array,
    base: Array,
    change: Array,
    surprise: Array,
) -> None:
    """Write `do - B du`, with one number for all columns in the base, one a column, or none for zero."""
    if len(base) > 1:
        for column in range(len(change)):
            surprise[column] = output_change[column] - base[column] * change[column]
        return
    slope = base[0] if len(base) else change[0] * 0
    for column in range(len(change)):
        surprise[column] = output_change[column] - slope * change[column]


@compile_kernel
def subtract_multiple(
    surprise: Array,
    direction: Array,
    change: Array,
    left: Array,
) -> None:
    """Take `w <p, du>` from a surprise."""
    weight = change[0] * 0
    for column in range(len(change)):
        weight += direction[column] * change[column]
    for column in range(len(change)):
        surprise[column] -= weight * left[column]


@compile_kernel
def clear_infinite(row: Array) -> None:
    """Make a row zero where one of its numbers is not finite."""
    total = row[0] * 0
    for column in range(len(row)):
        total += row[column] * 0
    if total != 0:
        row[:] = 0


def subtract_older(  # noqa: PLR0917, addresses
    rows: Address,
    changes: Address,
    newer: Address,
    older: Address,
    length: int,
    row_count: int,
    samples: int,
    count: int,
    width: int,
) -> None:
    """Write the differences of each step's evaluations, the oldest first; zero where there is no older one."""
    x, du = carray(rows, (row_count, samples, width)), carray(changes, (length, samples, count, width))
    new, old = carray(newer, (length, count)), carray(older, (length, count))
    for step in range(length):
        for index in range(count):
            place, older_place = new[step, count - 1 - index], old[step, count - 1 - index]
            for sample in range(samples):
                subtract_rows(
                    x[place, sample], x[max(older_place, 0), sample], older_place >= 0, du[step, sample, index]
                )


def update_bases(  # noqa: PLR0917, addresses
    changes: Address,
    output_changes: Address,
    bases: Address,
    left: Address,
    right: Address,
    length: int,
    samples: int,
    count: int,
    width: int,
    base_width: int,
) -> None:
    """Write the directions that Broyden's updates add to the base of each step: `w_k = do_k - J du_k`, `p_k`.

    A step that did not change takes those of the step before it. `p_k = du_k / |du_k|^2`; a base of width 0 is zero.
    """
    shape = (length, samples, count, width)
    du, do, w, p = carray(changes, shape), carray(output_changes, shape), carray(left, shape), carray(right, shape)
    b = carray(bases, (length, samples, base_width))
    for step in range(length):
        is_changed = False
        for sample in range(samples):
            for index in range(count):
                change, surprise = du[step, sample, index], w[step, sample, index]
                is_changed = scale_direction(change, p[step, sample, index]) or is_changed
                subtract_base(do[step, sample, index], b[step, sample], change, surprise)
                for before in range(index):
                    subtract_multiple(surprise, p[step, sample, before], change, w[step, sample, before])
                clear_infinite(surprise)  # a base beyond all numbers
        if step and not is_changed:
            w[step], p[step] = w[step - 1], p[step - 1]


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


WALK_KERNELS: Final = {
    "subtract_older": KernelSource(subtract_older, arrays=2, places=2, counts=5),
    "update_bases": KernelSource(update_bases, arrays=5, counts=5),
    "grow_distances": KernelSource(grow_distances, arrays=6, counts=5),
    "carry_matrices": KernelSource(carry_matrices, arrays=5, counts=5),
}
