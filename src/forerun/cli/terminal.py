"""Where commands print, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def refuse(message: str, code: int = 2) -> NoReturn:
    """End the command with one red line."""
    errors.print(Text.assemble(("error: ", "bold red"), (" ".join(message.split()), "red")))
    raise typer.Exit(code)


@contextmanager
def refusing() -> Iterator[None]:
    """What is wrong with the words of the user, or with the files that they name, ends the command with one line."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        refuse(str(error))
