"""Kernels that are called by the addresses of rows: where one of them reads some tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from forerun.engine.numerics.native.loader import NATIVE_KERNELS

CALLS_OF_ROWS: Final = 12  # of torch, that one of these kernels replaces
DTYPE_NAMES: Final = {torch.float32: "float32", torch.float64: "float64"}


def find_row_kernel(
    name: str, tensors: Sequence[Tensor], saved_calls: int = CALLS_OF_ROWS
) -> Callable[..., None] | None:
    """Return a kernel where it reads these tensors, all of one dtype and contiguous; None elsewhere."""
    dtype = tensors[0].dtype
    for tensor in tensors:
        if tensor.dtype != dtype or not tensor.is_contiguous():
            return None
    kernels = NATIVE_KERNELS.find_kernels(tensors, saved_calls)
    if kernels is None:
        return None
    kernel: Callable[..., None] = kernels.load_row_kernel(name, DTYPE_NAMES[dtype])
    return kernel
