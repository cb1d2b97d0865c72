"""All kernels, as the loader imports them. Needs numba."""

from forerun.engine.numerics.native.row_kernels import load_row_kernel
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
