"""Native kernels for scans and sweeps, compiled by numba where it is installed; torch's own calls do the same."""
