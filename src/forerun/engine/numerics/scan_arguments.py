"""Validation of the arguments of an affine scan: their dtypes, devices and shapes."""

from __future__ import annotations

from torch import Tensor

from forerun.engine.numerics.tree import describe_tree


def check_scan_arguments(slopes: Tensor, shifts: Tensor, start: Tensor) -> None:
    """Refuse arguments that do not fit together.

    Raises:
        TypeError: the arguments are not of one real floating dtype.
        ValueError: their shapes or devices do not fit.
    """
    if not slopes.dtype == shifts.dtype == start.dtype or not shifts.is_floating_point():
        raise TypeError(
            f"{_describe_arguments(slopes, shifts, start)}: it computes in one real floating dtype; pass "
            "slopes.to(dtype), and so the others"
        )
    if not slopes.device == shifts.device == start.device:
        raise ValueError(
            f"{_describe_arguments(slopes, shifts, start)}: on several devices; pass slopes.to(shifts.device), "
            "start.to(shifts.device)"
        )
    if shifts.dim() < 2 or start.shape != shifts.shape[1:]:
        raise ValueError(
            f"{_describe_arguments(slopes, shifts, start)}: shifts are (T, *batch, D) and start is one state, "
            "(*batch, D); for a path of plain numbers pass shifts.reshape(-1, 1), start.reshape(1); for one start of "
            "many samples start.expand(shifts.shape[1:])"
        )
    _check_slopes(slopes, shifts, start)


def _check_slopes(slopes: Tensor, shifts: Tensor, start: Tensor) -> None:
    """Refuse slopes that are neither pointwise nor dense, or do not broadcast against the shifts."""
    full_shape = list(shifts.shape)
    fixed_axes = {0}  # those that do not broadcast
    if slopes.dim() == shifts.dim() + 1:
        full_shape.append(shifts.shape[-1])
        fixed_axes |= {len(full_shape) - 2, len(full_shape) - 1}
    if slopes.dim() != len(full_shape):
        raise ValueError(
            f"{_describe_arguments(slopes, shifts, start)}: pointwise slopes have as many axes as shifts, dense ones "
            "(T, *batch, D, D) one more; for one scalar a step pass slopes.reshape(-1, *[1] * start.dim())"
        )
    for axis, (size, full_size) in enumerate(zip(slopes.shape, full_shape, strict=True)):
        broadcasts = size == 1 and axis not in fixed_axes
        if size != full_size and not broadcasts:
            raise ValueError(
                f"{_describe_arguments(slopes, shifts, start)}: slopes do not fit {full_shape}; pass "
                f"slopes.expand({full_shape}), or fewer shifts"
            )


def _describe_arguments(slopes: Tensor, shifts: Tensor, start: Tensor) -> str:
    """Return the beginning of every message: what the scan got."""

    def describe(tensor: Tensor) -> str:
        return f"{describe_tree(tensor)} on {tensor.device}"

    return f"affine_scan got slopes {describe(slopes)}, shifts {describe(shifts)}, start {describe(start)}"
