"""What a network keeps between its calls: weights, processors, hooks, switches; read, compared, and put back.

A callback may change them between two steps, or the network itself at every call. What was evaluated before such a
change is not what the network would give after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, final

from torch import Tensor, nn

from forerun.diffusion.pipelines.calls import NetworkCall, NotUnderstood
from forerun.diffusion.pipelines.watched_method import WatchedMethod

ABSENT_VALUE = object()
PLAIN_ARGUMENT_TYPES = (bool, int, float, str, type(None))
MODULE_INTERNALS = {name for name in vars(nn.Module()) if name.startswith("_")}
MODULE_TABLES = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class KeptValue:
    """One value that a network keeps.

    Attributes:
        path: where it stands, such as `unet.mid_block.attn.processor.scale`.
        owner: the dictionary that holds it.
        key: its key there.
        value: the value itself, or a copy of it where it is plain.
        version: of a tensor, which counts the changes in place.
        is_plain: whether it is made of numbers, strings, and lists and dictionaries of these.
    """

    path: str
    owner: Mapping[Any, Any]
    key: Any
    value: Any
    version: int
    is_plain: bool

    @property
    def has_changed(self) -> bool:
        """Whether another value stands in its place, or it was changed in place."""
        value = self.owner.get(self.key, ABSENT_VALUE)
        if self.is_plain:
            return type(value) is not type(self.value) or bool(value != self.value)
        return value is not self.value or tensor_version(value) != self.version

    @property
    def is_mutable(self) -> bool:
        """Whether it can change in place."""
        if isinstance(self.value, tuple):
            return any(isinstance(entry, Tensor | list | dict | tuple) for entry in self.value)
        return isinstance(self.value, Tensor | list | dict)

    @property
    def has_version(self) -> bool:
        """Whether it is a tensor that counts the changes in place."""
        return isinstance(self.value, Tensor) and not self.value.is_inference()

    @property
    def is_count(self) -> bool:
        """Whether it is a plain number, such as a count of calls."""
        return self.is_plain and isinstance(self.value, int | float) and not isinstance(self.value, bool)

    def put_back(self) -> None:
        """Put a plain value back where it stood."""
        if self.is_plain and isinstance(self.owner, dict):
            self.owner[self.key] = _copy_plain(self.value)


@final
class NetworkState:
    """What some networks keep, as it is now.

    Args:
        networks: by the names that are reported.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._values: list[KeptValue] = []
        self._sizes: list[tuple[str, Mapping[Any, Any], int]] = []
        self._forwards: list[tuple[str, Mapping[Any, Any], Any]] = []
        self._entries: list[tuple[itemgetter[Any], Mapping[Any, Any]]] = []
        for name, network in networks.items():
            for path, module in network.named_modules(prefix=name):
                self._read_module(path, module)
        self._save_lists()

    def find_change(self) -> str | None:
        """Return the path of the first value that is not as it was; None where all are."""
        if self._is_surely_unchanged():
            return None
        for kept in self._values:
            if kept.has_changed:
                return kept.path
        for path, owner, size in self._sizes:
            if _count_entries(owner) != size:
                return path
        for path, owner, method in self._forwards:
            if _plain_forward(owner) is not method:
                return f"{path}.forward"
        return None

    def _save_lists(self) -> None:
        """Keep whole lists of what was read, to compare each at once."""
        self._owners = [owner for _, owner, _ in self._sizes]
        self._lengths = [len(owner) for owner in self._owners]
        self._saved_entries = [read(owner) for read, owner in self._entries]
        self._mutable_values, self._tensors = [], []
        for kept in self._values:
            if kept.has_version:
                self._tensors.append(kept.value)
            elif kept.is_mutable:
                self._mutable_values.append(kept)
        self._versions = [tensor._version for tensor in self._tensors]

    def _is_surely_unchanged(self) -> bool:
        """Return whether nothing can have changed, as whole dictionaries compared at once are equal."""
        # whole lists at a time: a pipeline waits for this in every step
        if [len(owner) for owner in self._owners] != self._lengths:
            return False
        try:
            if [read(owner) for read, owner in self._entries] != self._saved_entries:
                return False
        except Exception:  # a key that is gone, or values that do not compare, such as tensors
            return False
        if [tensor._version for tensor in self._tensors] != self._versions:
            return False
        return not any(kept.has_changed for kept in self._mutable_values)

    def fingerprint(self) -> int:
        """Return a number that another holds only for networks that keep other values, or for changed ones."""
        entries = []
        for kept in self._values:
            content = repr(kept.value) if kept.is_plain else id(kept.value)
            entries.append((kept.path, content, kept.version))
        methods = [(path, id(getattr(method, "__func__", method))) for path, _, method in self._forwards]
        return hash((tuple(entries), tuple(methods)))

    def find_moving_count(self) -> str | None:
        """Return the path of the first number that has changed, as a network does that counts its calls."""
        for kept in self._values:
            if kept.is_count and kept.has_changed:
                return kept.path
        return None

    def put_back(self) -> None:
        """Put all plain values back as they were."""
        for kept in self._values:
            if kept.is_plain and kept.has_changed:
                kept.put_back()

    def _read_module(self, path: str, module: nn.Module) -> None:
        attributes = vars(module)
        self._sizes.append((path, attributes, _count_entries(attributes)))
        if "forward" in attributes:
            self._forwards.append((path, attributes, _plain_forward(attributes)))
        for table_name in MODULE_TABLES:
            table = attributes[table_name]
            self._sizes.append((path, table, _count_entries(table)))
            self._watch_entries(table, table)
            self._values += _read_entries(path, table, table)
        names = [name for name, value in attributes.items() if _is_watched(name, value)]
        self._watch_entries(attributes, [*names, "forward"] if "forward" in attributes else names)
        self._values += _read_entries(path, attributes, names)
        for name in names:
            self._read_helper(f"{path}.{name}", attributes[name])

    def _watch_entries(self, owner: Mapping[Any, Any], keys: Iterable[Any]) -> None:
        listed = list(keys)
        if listed:
            self._entries.append((itemgetter(*listed), owner))

    def _read_helper(self, path: str, helper: Any) -> None:
        """Read the attributes of an object that a module keeps, such as an attention processor."""
        if isinstance(helper, nn.Module | Tensor | type) or not hasattr(helper, "__dict__"):
            return
        if callable(helper) and not type(helper).__module__.startswith("torch"):
            attributes = vars(helper)
            self._watch_entries(attributes, attributes)
            self._sizes.append((path, attributes, _count_entries(attributes)))
            self._values += _read_entries(path, attributes, attributes)


def _is_watched(name: str, value: Any) -> bool:
    """Return whether an attribute of a module is compared; of private ones switches and numbers alone."""
    if name in MODULE_INTERNALS or name == "forward":
        return False
    return not name.startswith("_") or isinstance(value, PLAIN_ARGUMENT_TYPES)


def refuse_stateful_hooks(call: NetworkCall) -> None:
    """Refuse a network with a cache of diffusers, which takes over what an earlier step computed.

    Raises:
        NotUnderstood: pyramid attention broadcast, FasterCache, MagCache, first block cache or the like is enabled.
    """
    for module in call.network.modules():
        registry = getattr(module, "_diffusers_hook", None)
        hooks = getattr(registry, "hooks", {})
        for hook in hooks.values():
            if getattr(hook, "_is_stateful", False):
                raise NotUnderstood(
                    f"{call.name} keeps what it computed from one step to the next, by {type(hook).__name__}; call "
                    f"pipe.{call.name}.disable_cache() to run in parallel"
                )


def tensor_version(value: Any) -> int:
    """Return how often a tensor was changed in place; 0 for what has no count, such as tensors of inference mode."""
    if not isinstance(value, Tensor) or value.is_inference():
        return 0
    return value._version


def _count_entries(owner: Mapping[Any, Any]) -> int:
    """Return the number of entries, without `forward`, which contexts on the same network set and delete."""
    return len(owner) - ("forward" in owner)


def _plain_forward(owner: Mapping[Any, Any]) -> Any:
    """Return what is called as `forward`, without any watch; None where it is that of the class."""
    forward = owner.get("forward")
    return forward.plain_method if isinstance(forward, WatchedMethod) else forward


def _read_entries(path: str, owner: Mapping[Any, Any], keys: Iterable[Any]) -> Iterator[KeptValue]:
    for key in keys:
        value = owner[key]
        is_plain = _is_plain(value)
        if is_plain:
            value = _copy_plain(value)
        yield KeptValue(
            f"{path}.{key}",
            owner,
            key,
            value,
            tensor_version(value),
            is_plain,
        )


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(_is_plain(entry) for entry in value)
    if type(value) is dict:
        return all(_is_plain(entry) for entry in value.values())
    return isinstance(value, PLAIN_ARGUMENT_TYPES)


def _copy_plain(value: Any) -> Any:
    if type(value) is list:
        return [_copy_plain(entry) for entry in value]
    if type(value) is dict:
        return {key: _copy_plain(entry) for key, entry in value.items()}
    return value
