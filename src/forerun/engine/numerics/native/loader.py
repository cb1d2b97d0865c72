"""The loader of the native kernels: whether there are any for some tensors, and when loading them pays.

Loading numba and a kernel takes half a second, and calls of torch that a kernel replaces some microseconds each. So
kernels are loaded once the calls that they would have saved in this process come to about that time: whoever runs
little loses nothing, and whoever runs much loses that much once. What is counted are calls and not seconds, so that the
same program computes the same bits every time. `FORERUN_NATIVE=1` loads them at once, `FORERUN_NATIVE=0` never.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Sequence
from itertools import product
from types import ModuleType
from typing import Final, final

import torch
from torch import Tensor

CALLS_WORTH_LOADING: Final = 50_000  # of torch, some five microseconds each
ENGINE_KERNELS: Final = "forerun.engine.numerics.native.kernels"
NATIVE_VARIABLE: Final = "FORERUN_NATIVE"  # of the environment
PLAIN_KINDS: Final = frozenset(product((Tensor, torch.nn.Parameter), (torch.float32, torch.float64)))


@final
class KernelLoader:
    """Loads modules of kernels once that pays.

    Args:
        setting: what the environment says: "1" for at once, "0" for never, anything else for once it pays.

    Attributes:
        loading_seconds: that loading has taken so far in this process, which no round is to be blamed for.
    """

    def __init__(self, setting: str | None) -> None:
        self.setting = setting
        self.loading_seconds = 0.0
        self._calls = 0
        self._modules: dict[str, ModuleType] = {}
        self._is_missing = importlib.util.find_spec("numba") is None

    @property
    def may_load(self) -> bool:
        """Whether numba is there and the setting allows it."""
        return not self._is_missing and self.setting != "0"

    def find_kernels(
        self, tensors: Sequence[Tensor], saved_calls: int, source: str = ENGINE_KERNELS
    ) -> ModuleType | None:
        """Return the kernels where they take these tensors and are worth loading; None where torch shall compute.

        Args:
            tensors: what a kernel would read.
            saved_calls: about how many calls of torch it replaces.
            source: the module that holds the kernels.
        """
        if not self.may_load or not are_plain(tensors):
            return None
        if source in self._modules:
            return self._modules[source]
        self._calls += saved_calls
        if self._calls >= CALLS_WORTH_LOADING or self.setting == "1":
            return self.load(source)
        return None

    def load(self, source: str) -> ModuleType | None:
        """Return a module of kernels, loaded now if it was not before; None without numba."""
        start_time = time.perf_counter()
        try:
            self._modules[source] = importlib.import_module(source)
        except ImportError:
            self._is_missing = True
        self.count_loading(start_time)
        return self._modules.get(source)

    def count_loading(self, start_time: float) -> None:
        """Count the time since then as that of loading."""
        self.loading_seconds += time.perf_counter() - start_time


NATIVE_KERNELS: Final = KernelLoader(os.environ.get(NATIVE_VARIABLE))


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Return whether numbers of these tensors can be read and nothing else sees what is computed with them.

    Compilers, transforms and derivatives follow calls of torch alone. Ranks of a group may have loaded their kernels
    at different times, or have none, and all of them must compute the same bits.
    """
    if _is_followed() or _is_distributed():
        return False
    is_wrapped, has_gradients = torch._C._functorch.is_functorch_wrapped_tensor, torch.is_grad_enabled()
    for tensor in tensors:  # written out: a round asks of some twenty tensors
        if (type(tensor), tensor.dtype) not in PLAIN_KINDS or not tensor.is_cpu:
            return False
        if is_wrapped(tensor) or tensor.is_neg() or (has_gradients and tensor.requires_grad):
            return False
    return True


def _is_followed() -> bool:
    """Return whether a compiler, a tracer or a forward derivative follows what torch is called for."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    return torch.autograd.forward_ad._current_level >= 0


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
