"""The line that was typed: which options it names, and the line that repeats a run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import Any

import typer
from typer.core import TyperArgument


def typed_parameters(context: typer.Context) -> list[str]:
    """Return the names of the parameters that were typed, and not left at their defaults."""
    names = []
    for name in context.params:
        source = context.get_parameter_source(name)
        if "COMMANDLINE" in str(source):
            names.append(name)
    return names


def repeat_line(
    context: typer.Context, *, launcher: Sequence[str] = ("forerun",), without: Collection[str] = ()
) -> str:
    """Return the line that repeats a command, with all that was typed.

    Args:
        context: of the command.
        launcher: the words before the command's name.
        without: names of parameters that are left out.
    """
    arguments: list[str] = []
    options: list[str] = []
    for name in typed_parameters(context):
        if name in without:
            continue
        parameter = _find_parameter(context, name)
        value = context.params[name]
        if isinstance(parameter, TyperArgument):
            arguments.append(str(value))
        else:
            options += _option_words(parameter, value)
    command = str(context.info_name)
    return shlex.join([*launcher, command, *arguments, *options])


def refuse_beside_resume(context: typer.Context, *, allowed: Collection[str]) -> None:
    """Refuse parameters that the checkpoint of an interrupted run has already decided.

    Raises:
        ValueError: one was typed; the message names it.
    """
    for name in typed_parameters(context):
        if name in allowed:
            continue
        shown = f"--{name}"
        if isinstance(_find_parameter(context, name), TyperArgument):
            shown = f"the {name}"
        raise ValueError(f"{shown} is decided by the checkpoint that --resume names; leave it out")


def _find_parameter(context: typer.Context, name: str) -> Any:
    for parameter in context.command.params:
        if parameter.name == name:
            return parameter
    raise KeyError(name)


def _option_words(parameter: Any, value: Any) -> list[str]:
    """Return an option as it is typed; a switch has no value."""
    if not isinstance(value, bool):
        return [parameter.opts[0], str(value)]
    if value:
        return [parameter.opts[0]]
    return [parameter.secondary_opts[0]]
