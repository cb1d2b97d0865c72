"""TensorTraffic: which tensors from outside a call reads and writes, so that what it leaves behind can be undone."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

TensorMark = tuple[weakref.ref[Tensor], int, int]  # a tensor, its version and its memory


@final
class TensorTraffic(TorchDispatchMode):
    """Watches the operations inside a `with` block.

    Args:
        known: tensors that may be read and written: parameters, and what an optimiser keeps.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {_storage_key(tensor) for tensor in known}
        self._born: set[int] = set()  # storages made inside
        self._read: dict[int, weakref.ref[Tensor]] = {}
        self._written: dict[int, tuple[Tensor, Tensor]] = {}  # a tensor from outside, and a copy of it as it was

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs = kwargs or {}
        for tensor, is_written in _list_arguments(func, args, kwargs):
            self._note_argument(tensor, is_written)
        inputs = {_storage_key(tensor) for tensor in _tensors_of((args, kwargs))}
        outputs = func(*args, **kwargs)
        is_new_value = func in _LIFTS
        for tensor in _tensors_of(outputs):
            key = _storage_key(tensor)
            if is_new_value or key not in inputs:
                self._born.add(key)
        return outputs

    def _note_argument(self, tensor: Tensor, is_written: bool) -> None:
        """Remember a tensor from outside that an operation reads, with a copy where it writes to it."""
        key = _storage_key(tensor)
        if key in self._born or key in self._known:
            return
        self._read.setdefault(id(tensor), weakref.ref(tensor))
        if is_written and key not in self._written:
            self._written[key] = tensor, tensor.detach().clone()

    def list_changed(self) -> list[Tensor]:
        """Return the tensors from outside that hold other values than before the block."""
        changed = []
        for tensor, before in self._written.values():
            if not torch.equal(tensor.detach(), before):
                changed.append(tensor)
        return changed

    def restore_written(self) -> None:
        """Let all tensors from outside hold what they held before the block."""
        with torch.no_grad():
            for tensor, before in self._written.values():
                tensor.detach().copy_(before)

    def mark_read(self) -> list[TensorMark]:
        """Return marks of the tensors from outside that were read, as they are now."""
        marks = []
        for reference in self._read.values():
            tensor = reference()
            if tensor is not None and _storage_key(tensor) not in self._born:
                marks.append((reference, tensor._version, tensor.data_ptr()))
        return marks


@final
class RetainWatch(TorchFunctionMode):
    """Notices whether a `with` block asks a tensor to retain its gradient, to read it after `backward()`."""

    def __init__(self) -> None:
        super().__init__()
        self.retains = False

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        if func is torch.Tensor.retain_grad:
            self.retains = True
        return func(*args, **(kwargs or {}))


def renew_marks(marks: Sequence[TensorMark]) -> list[TensorMark]:
    """Return marks of the same tensors as they are now."""
    renewed = []
    for reference, _, _ in marks:
        tensor = reference()
        if tensor is not None:
            renewed.append((reference, tensor._version, tensor.data_ptr()))
    return renewed


def find_changed_mark(marks: Sequence[TensorMark]) -> Tensor | None:
    """Return a tensor that was written since it was marked; None where there is none."""
    for reference, version, address in marks:
        tensor = reference()
        if tensor is not None and (tensor._version != version or tensor.data_ptr() != address):
            return tensor
    return None


_LIFTS = {torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default}


def _list_arguments(func: Any, args: Any, kwargs: Any) -> list[tuple[Tensor, bool]]:
    """Return the tensors that an operation is given, and whether it writes them."""
    arguments = []
    schema = func._schema.arguments
    for position, argument in enumerate(schema):
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        arguments += [(tensor, is_written) for tensor in _tensors_of(value)]
    return arguments


def _tensors_of(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage_key(tensor: Tensor) -> int:
    """Return what tells the memory of a tensor from that of others; of a tensor without memory, itself."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)
