"""The path of few short rows as one product with the matrix of all products of slopes."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

# Measured on a CPU with one thread: benchmarks/results/scan_is_faster_than_the_loop.md
MAX_PREFIX_PRODUCTS: Final = 3 * 2**12  # products of slopes that are worth writing out


def prefers_products(slopes: Tensor, shifts: Tensor) -> bool:
    """Whether one scalar per sample acts, on so few samples and steps that calls cost more than their elements."""
    if slopes.dim() != shifts.dim() or slopes.shape[-1] != 1:
        return False
    if slopes.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return 1 < len(slopes) * slopes.numel() <= MAX_PREFIX_PRODUCTS


def scan_by_products(slopes: Tensor, shifts: Tensor, start: Tensor) -> Tensor:
    """Return `x_{i+1} = sum_j (A_i .. A_{j+1}) b_j + (A_i .. A_0) x_0` by one product of matrices."""
    acting = _acting_slopes(len(shifts))
    products = torch.where(acting, slopes.movedim(0, -2), 1.0).cumprod(-2).tril(1)
    path = products @ torch.cat([start.unsqueeze(0), shifts]).movedim(0, -2)
    return path.movedim(-2, 0).contiguous()


@lru_cache(maxsize=64)
def _acting_slopes(length: int) -> Tensor:
    """Return which slopes act on which shift: `(length, length + 1)`, the first column for the start."""
    return torch.ones(length, length + 1, dtype=torch.bool).tril()
