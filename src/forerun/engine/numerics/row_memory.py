"""Memory of wide rows that is used again: what the system hands out costs more than to write it.

A tensor lies on a view of a buffer, which tells when the last tensor on it is gone. Until then nothing else is written
there, whoever keeps the tensor.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Final, final

import torch
from torch import Tensor

LEAST_BYTES: Final = 2**20  # of a buffer that is worth it: below, memory is used again anyway


@final
class RowMemory:
    """Hands out memory for tensors on a CPU, and takes it back by itself."""

    def __init__(self) -> None:
        self._idle: dict[int, list[bytearray]] = defaultdict(list)  # buffers that no tensor lies on, by their size

    def allocate(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return an empty tensor of some shape, with the dtype and the device of another."""
        size = prod(shape) * like.element_size()
        if not _is_worth_it(size, like):
            return like.new_empty(shape)
        idle = self._idle[size]
        buffer = idle.pop() if idle else bytearray(size)
        view = memoryview(buffer)
        weakref.finalize(view, idle.append, buffer).atexit = False
        return torch.frombuffer(view, dtype=like.dtype).view(*shape)

    def stack(self, rows: Sequence[Tensor]) -> Tensor:
        """Return rows of one shape as one tensor."""
        size = len(rows) * rows[0].nbytes
        if not _is_worth_it(size, rows[0]):
            return torch.stack([*rows])
        return torch.stack([*rows], out=self.allocate((len(rows), *rows[0].shape), rows[0]))

    def concatenate(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the rows of two tensors, one after the other."""
        if not _is_worth_it(first.nbytes + second.nbytes, first):
            return torch.cat([first, second])
        shape = (first.shape[0] + second.shape[0], *first.shape[1:])
        return torch.cat([first, second], out=self.allocate(shape, first))


def _is_worth_it(size: int, like: Tensor) -> bool:
    """Whether memory of so many bytes is to be used again."""
    return size >= LEAST_BYTES and like.is_cpu
