"""BufferGuard: the buffers of modules, which an evaluation of the replica must leave as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor

from forerun.optim.auto_gradients import list_names
from forerun.optim.replica import ReplicaDiffers


class BuffersChanged(ReplicaDiffers):
    """A loss changed buffers.

    Args:
        names: of the buffers.
    """

    def __init__(self, names: str) -> None:
        super().__init__(f"the loss changes the buffer(s) {names}")
        self.names = names


@final
class BufferGuard:
    """Copies of buffers, taken when they were last at rest.

    Args:
        named_buffers: the buffers, with their names.
    """

    def __init__(self, named_buffers: Iterable[tuple[str, Tensor]]) -> None:
        self._buffers = dict(named_buffers)
        self._copies: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}

    @contextmanager
    def watch(self, *, by_value: bool = False) -> Iterator[None]:
        """Refuse what changes a buffer inside the context, and restore all buffers.

        Args:
            by_value: compare values besides versions, as some kernels leave the versions alone.

        Raises:
            BuffersChanged: buffers were changed.
        """
        self._copy_moved()
        yield
        names = [name for name, buffer in self._buffers.items() if self._is_changed(name, buffer, by_value=by_value)]
        if names:
            self._restore_all()
            raise BuffersChanged(list_names(names))

    def _is_changed(self, name: str, buffer: Tensor, *, by_value: bool) -> bool:
        if buffer._version != self._versions[name]:
            return True
        return by_value and not torch.equal(buffer, self._copies[name])

    def _restore_all(self) -> None:
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                buffer.copy_(self._copies[name])
                self._versions[name] = buffer._version

    def _copy_moved(self) -> None:
        """Copy the buffers, where somebody else has changed one since they were copied."""
        versions = {name: buffer._version for name, buffer in self._buffers.items()}
        if versions != self._versions:
            self._copies = {name: buffer.detach().clone() for name, buffer in self._buffers.items()}
            self._versions = versions
