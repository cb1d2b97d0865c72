"""What options must be, how keywords and an object of options are gathered, and what refuses those that are wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)
else:
    Options = TypeVar("Options")


@dataclass(frozen=True)
class OptionKind:
    """What an option must be, and what to write where it is something else."""

    types: tuple[type, ...]
    noun: str
    example: str


def refuse_wrong_kinds(options: Any, kinds: Mapping[str, OptionKind]) -> None:
    """Refuse options that are not of their kind; None leaves a choice open.

    Raises:
        TypeError: an option is of the wrong kind, or its callback cannot be called.
    """
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is not None and not _is_of_kind(value, kind):
            raise TypeError(f"{name} must be {kind.noun}, got {value!r}; write {name}={kind.example}")
    if options.callback is not None and not callable(options.callback):
        raise TypeError(f"callback must be a function of an event, got {options.callback!r}; write callback=print")


def gather_options(cls: type[Options], options: Options | None, keywords: Mapping[str, Any], example: str) -> Options:
    """Return one object for `options=` and the keywords of a front door.

    Raises:
        TypeError: a keyword is not an option, or of the wrong kind.
    """
    if options is not None and not isinstance(options, cls):
        raise TypeError(f"options must be a {cls.__name__}, got {options!r}; write options={cls.__name__}({example})")
    names = [entry.name for entry in fields(cls)]
    for name in keywords:
        if name not in names:
            raise TypeError(f"{name} is not an option; {_advise_name(name, names)}")
    chosen = cls(**keywords)
    return chosen if options is None else merge_options(chosen, options)


def merge_options(chosen: Options, defaults: Options) -> Options:
    """Return the chosen options where they are set, and the defaults where they are None."""
    merged = {}
    for entry in fields(chosen):
        value = getattr(chosen, entry.name)
        merged[entry.name] = getattr(defaults, entry.name) if value is None else value
    return type(chosen)(**merged)


def _is_of_kind(value: Any, kind: OptionKind) -> bool:
    """Return whether a value is of a kind; a bool is not taken for a number."""
    if isinstance(value, bool):
        return bool in kind.types
    return isinstance(value, kind.types)


def _advise_name(name: str, names: list[str]) -> str:
    """Return what to write in place of a name that is not an option."""
    close_names = difflib.get_close_matches(name, names, 1)
    if close_names:
        return f"did you mean {close_names[0]}?"
    return f"the options are {', '.join(names)}"
