"""The line that was typed: which options it names, and the line that repeats a run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import Any

import typer
from typer.core import TyperArgument


def typed_parameters(context: typer.Context) -> list[str]:
    """Return the names of the parameters that were typed, and not left at their defaults."""
    return [name for name in context.params if "COMMANDLINE" in str(context.get_parameter_source(name))]


def repeat_line(
    context: typer.Context, *, launcher: Sequence[str] = ("forerun",), without: Collection[str] = ()
) -> str:
    """Return the line that repeats a command, with all that was typed.

    Args:
        context: of the command.
        launcher: the words before the command's name.
        without: names of parameters that are left out.
    """
    parameters = {parameter.name: parameter for parameter in context.command.params}
    arguments: list[str] = []
    options: list[str] = []
    for name in typed_parameters(context):
        value = context.params[name]
        if name in without:
            continue
        if isinstance(parameters[name], TyperArgument):
            arguments.append(str(value))
        else:
            options += _option_words(parameters[name], value)
    return shlex.join([*launcher, str(context.info_name), *arguments, *options])


def refuse_beside_resume(context: typer.Context, *, allowed: Collection[str]) -> None:
    """Refuse parameters that the checkpoint of an interrupted run has already decided.

    Raises:
        ValueError: one was typed; the message names it.
    """
    for name in typed_parameters(context):
        if name not in allowed:
            shown = f"the {name}" if _is_argument(context, name) else f"--{name}"
            raise ValueError(f"{shown} is decided by the checkpoint that --resume names; leave it out")


def _is_argument(context: typer.Context, name: str) -> bool:
    return any(isinstance(parameter, TyperArgument) for parameter in context.command.params if parameter.name == name)


def _option_words(parameter: Any, value: Any) -> list[str]:
    """Return an option as it is typed; a switch has no value."""
    if not isinstance(value, bool):
        return [parameter.opts[0], str(value)]
    if value:
        return [parameter.opts[0]]
    return [parameter.secondary_opts[0]]
