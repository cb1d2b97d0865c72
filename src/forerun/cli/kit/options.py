"""The options that commands share, with one name, one help and one default each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from forerun.cli import words

DEFAULT_SEED = 0
DEFAULT_METHOD = "secant"
DEFAULT_DEVICE = "cpu"
DEFAULT_THREADS = 1
DEFAULT_OUT = Path("forerun-out")

THREADS_HELP = "Threads that torch may use."
WINDOW_HELP = f"{', '.join(words.WINDOWS)}, or a number of steps."

SeedOption = Annotated[int, typer.Option(min=0, help="Seed of all that is random.")]
MethodOption = Annotated[str, typer.Option(help=f"{', '.join(words.METHODS)}.")]
WindowOption = Annotated[str, typer.Option(help=WINDOW_HELP)]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
ThreadsOption = Annotated[int, typer.Option(min=1, help=THREADS_HELP)]
OutOption = Annotated[Path, typer.Option(help="Folder for all that the command writes.")]
ReportOption = Annotated[Path | None, typer.Option(help="Write a page of the run, one HTML file.")]
CompareOption = Annotated[bool, typer.Option(help="Run it in order too.")]
ResumeOption = Annotated[Path | None, typer.Option(help="Checkpoint of an interrupted run, to go on from.")]

OptionsClass = TypeVar("OptionsClass")


def gather_options(kind: type[OptionsClass], parameters: Mapping[str, Any]) -> OptionsClass:
    """Return the options of a command from its parameters, of which the others are about its files.

    Args:
        kind: a dataclass whose fields are named like the parameters.
        parameters: of the command, as typer has them in `context.params`.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: parameters[name] for name in names})
