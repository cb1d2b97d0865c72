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
    def watch(self) -> Iterator[None]:
        """Refuse what changes a buffer inside the context, and restore the buffer.

        Raises:
            BuffersChanged: buffers were changed.
        """
        self._copy_moved()
        yield
        names = [name for name, buffer in self._buffers.items() if buffer._version != self._versions[name]]
        if names:
            self.restore()
            raise BuffersChanged(list_names(names))

    def restore(self) -> None:
        """Let the buffers hold what they held at rest."""
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                if buffer._version != self._versions[name]:
                    buffer.copy_(self._copies[name])
                    self._versions[name] = buffer._version

    def _copy_moved(self) -> None:
        """Copy the buffers that were changed, by somebody else, since they were copied."""
        for name, buffer in self._buffers.items():
            if self._versions.get(name) != buffer._version:
                self._copies[name] = buffer.detach().clone()
                self._versions[name] = buffer._version
