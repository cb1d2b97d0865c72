"""Compilation of the kernels by numba, which is imported here; the loader alone imports the files that use this one.

Sums may be taken in another order (`reassoc`), so that products with wide rows use the whole width of a processor;
numbers that are not finite go where they go in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., None])


def compile_kernel(function: Kernel) -> Kernel:
    """Return a function compiled at its first call, and kept on disk where there is a place for that."""
    try:
        compiled = _compile(function, keep=True)
    except RuntimeError:  # neither the package nor the user's folder can be written to
        compiled = _compile(function, keep=False)
    return compiled


def _compile(function: Kernel, *, keep: bool) -> Kernel:
    decorate = numba.njit(cache=keep, nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
    return cast(Kernel, decorate(function))
