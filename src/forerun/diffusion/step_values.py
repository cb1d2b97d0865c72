"""Numbers and rows of steps, shaped to go with samples of any number of axes."""

from __future__ import annotations

from torch import Tensor


def select_steps(values: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    """Return `values[steps]`, shaped `(W, 1, ...)` to multiply `like`, `(W, ...)`, in its dtype."""
    selected = values.to(like.device)[steps].to(like.dtype)
    return append_axes(selected, like)


def append_axes(values: Tensor, like: Tensor) -> Tensor:
    """Return values `(N,)` with as many axes as `like`, the first of them theirs."""
    ones = [1] * (like.dim() - 1)
    return values.reshape(-1, *ones)


def repeat_rows(rows: Tensor, copies: int) -> Tensor:
    """Return rows `(N, ...)` so many times after one another, `(copies * N, ...)`."""
    ones = [1] * (rows.dim() - 1)
    return rows.repeat(copies, *ones)
