"""All kernels, as the loader imports them. Needs numba."""

import time
from functools import cache

from forerun.engine.numerics.native.compile_kernel import RowKernel
from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.native.row_kernels import ROUND_KERNELS
from forerun.engine.numerics.native.scan_kernels import (
    scan_dense,
    scan_grouped,
    scan_pointwise,
    scan_transposed,
)
from forerun.engine.numerics.native.sweep_kernels import (
    sweep_dense,
    sweep_grouped,
    sweep_pointwise,
)
from forerun.engine.numerics.native.walk_kernels import WALK_KERNELS

__all__ = [
    "load_row_kernel",
    "scan_dense",
    "scan_grouped",
    "scan_pointwise",
    "scan_transposed",
    "sweep_dense",
    "sweep_grouped",
    "sweep_pointwise",
]


@cache
def load_row_kernel(name: str, dtype: str) -> RowKernel:
    """Return a kernel that is called by addresses, for numbers of a dtype."""
    source = ROUND_KERNELS.get(name) or WALK_KERNELS[name]
    start_time = time.perf_counter()
    kernel = source.compile(dtype)
    NATIVE_KERNELS.count_loading(start_time)
    return kernel
