"""Compilation of the kernels by numba, which is imported here; the loader alone imports the files that use this one.

Sums may be taken in another order (`reassoc`), so that products with wide rows use the whole width of a processor;
numbers that are not finite go where they go in torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import numba
from numba import types
from numba.core.decorators import cfunc

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
RowKernel = Callable[..., None]

FAST_MATH: Final = {"contract", "reassoc"}
NUMBER_TYPES: Final = {"float32": types.float32, "float64": types.float64}
COMPILED_KERNELS: Final[list[Any]] = []  # kept, as the code at an address lives no longer than its function


@dataclass(frozen=True)
class KernelSource:
    """A kernel that is called by addresses: these first, then counts, then other numbers.

    Attributes:
        function: what is compiled.
        arrays: addresses of numbers of one dtype.
        places: addresses of places, int64.
        counts: whole numbers.
        numbers: others.
    """

    function: RowKernel
    arrays: int
    places: int = 0
    counts: int = 0
    numbers: int = 0

    def compile(self, dtype: str) -> RowKernel:
        """Return the kernel for numbers of a dtype, compiled now, or read from where it was kept."""
        pointer, place_pointer = types.CPointer(NUMBER_TYPES[dtype]), types.CPointer(types.int64)  # type: ignore[no-untyped-call]
        pointers = [pointer] * self.arrays + [place_pointer] * self.places
        compiled = _compile_pointers(
            self.function, types.void(*pointers, *[types.int64] * self.counts, *[types.float64] * self.numbers)
        )
        COMPILED_KERNELS.append(compiled)
        prototype = ctypes.CFUNCTYPE(
            None,
            *[ctypes.c_void_p] * len(pointers),
            *[ctypes.c_int64] * self.counts,
            *[ctypes.c_double] * self.numbers,
        )
        return prototype(compiled.address)


def compile_kernel(function: Kernel) -> Kernel:
    """Return a function compiled at its first call, and kept on disk where there is a place for that."""
    try:
        compiled = _compile(function, keep=True)
    except RuntimeError:  # neither the package nor the user's folder can be written to
        compiled = _compile(function, keep=False)
    return compiled


def _compile(function: Kernel, *, keep: bool) -> Kernel:
    decorate = numba.njit(
        cache=keep,
        nogil=True,
        fastmath=FAST_MATH,
        error_model="numpy",
    )
    return cast(Kernel, decorate(function))


def _compile_pointers(function: RowKernel, signature: Any) -> Any:
    settings: dict[str, Any] = {"fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return cfunc(signature, cache=True, **settings)(function)
    except RuntimeError:  # neither the package nor the user's folder can be written to
        return cfunc(signature, **settings)(function)
