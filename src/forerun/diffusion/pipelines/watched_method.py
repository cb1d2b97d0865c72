"""WatchedMethod: a method of a network or a scheduler whose calls pass a handler, until its watch is ended."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

ABSENT = object()


@dataclass(frozen=True)
class PendingCall:
    """A call that a pipeline is about to make: a function, and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Make the call."""
        return self.function(*self.args, **self.kwargs)


@final
class WatchedMethod:
    """A method as an instance attribute of its owner, whose calls pass a handler.

    Copies and pickles of the owner get the method that they would have without it. What is kept stands in slots, as
    wrappers of this object (accelerate's hooks) copy its `__dict__`.

    Args:
        owner: a network or a scheduler.
        name: of the method.
        handle: answers a call of it.
    """

    __slots__ = ("__dict__", "_before", "_handle", "_name", "_original", "_owner")

    def __init__(self, owner: Any, name: str, handle: Callable[[PendingCall], Any]) -> None:
        self._owner = owner
        self._name = name
        self._handle: Callable[[PendingCall], Any] | None = handle
        self._before = vars(owner).get(name, ABSENT)
        self._original = getattr(owner, name)
        functools.update_wrapper(self, self._original)
        vars(owner)[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Let the handler answer a call, or make it."""
        call = PendingCall(self._original, args, kwargs)
        return call() if self._handle is None else self._handle(call)

    @property
    def __self__(self) -> Any:
        return self._owner

    @property
    def plain_method(self) -> Any:
        """The method without any watch."""
        original = self._original
        return original.plain_method if isinstance(original, WatchedMethod) else original

    @property
    def is_live(self) -> bool:
        """Whether calls still pass the handler."""
        return self._handle is not None

    @property
    def is_in_place(self) -> bool:
        """Whether the owner still calls this method; hooks that are set or removed put another in its place."""
        return vars(self._owner).get(self._name) is self

    def end_watch(self) -> None:
        """Put back what stood in its place, wherever it stands among the attributes of its owner."""
        self._handle = None
        before = self._before
        while isinstance(before, WatchedMethod) and not before.is_live:
            before = before._before
        attributes = vars(self._owner)
        for name, value in list(attributes.items()):
            if value is not self:
                continue
            if name == self._name and before is ABSENT:
                del attributes[name]
            else:
                attributes[name] = self._original if before is ABSENT else before

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self._owner) not in memo:  # of the attributes alone, which a pipeline may put back later
            return self
        return copy.deepcopy(self._original, memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return return_unchanged, (self._original,)


def return_unchanged(value: Any) -> Any:
    """Return a value as it is: what a pickled `WatchedMethod` is made by."""
    return value


def is_watched(owner: Any) -> bool:
    """Return whether the calls of a method of an object go to a handler."""
    values = vars(owner).values()
    return any(isinstance(value, WatchedMethod) and value.is_live for value in values)
