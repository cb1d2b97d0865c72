"""The terminal: where commands print, how they show progress, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from forerun.engine.progress import Bar, Progress, Silent

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

REFUSED_EXIT = 2


def end_with_error(message: str, code: int = REFUSED_EXIT) -> NoReturn:
    """End the command with one red line."""
    line = " ".join(message.split())
    errors.print(Text.assemble(("error: ", "bold red"), (line, "red")))
    raise typer.Exit(code)


@contextmanager
def refusing_input() -> Iterator[None]:
    """End the command with one line where the words of the user, or the files that they name, are wrong."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        end_with_error(str(error))


def command_progress() -> Progress:
    """Return what shows the progress of a run: a bar on a terminal, nothing elsewhere."""
    if errors.is_terminal and not errors.quiet:
        return Bar(leave=False)
    return Silent()


def print_notes(notes: Sequence[str], label: str = "note") -> None:
    """Print what a run decided on its way, a line each."""
    for note in notes:
        console.print(f"[yellow]{label}[/yellow]: {escape(note)}")
