"""Long integers: numbers of 64 bits as two columns of float64, which holds 53 of their bits.

`x = low + 2**32 high`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LONG_DTYPES: Final = frozenset({torch.int64, torch.uint64})


def split_long(values: Tensor) -> Tensor:
    """Return 64-bit integers `(..., n)` as columns `(..., 2 n)`: the low halves, from -2**31 on, and the high ones."""
    numbers = values.view(torch.int64)
    high = (numbers + 2**31) >> 32
    low = numbers - (high << 32)
    return torch.cat([low, high], -1).to(torch.float64)


def join_long(columns: Tensor) -> Tensor:
    """Return the 64-bit integers `(..., n)` of columns `(..., 2 n)`."""
    low, high = columns.round().to(torch.int64).chunk(2, -1)
    return low + (high << 32)
