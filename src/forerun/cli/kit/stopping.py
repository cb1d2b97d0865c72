"""Stopping: Ctrl-C and failures end a command with a line that says what is kept and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from forerun.cli.kit.terminal import console, end_with_error
from forerun.engine.solution import Solution

INTERRUPTED_EXIT = 130  # what a shell expects after Ctrl-C
FAILED_EXIT = 1


class RunInterrupted(Exception):
    """Raised where the user pressed Ctrl-C in a run.

    Args:
        reached: how far the run came, in words.
        solution: what was accepted, where there is something to go on from.
    """

    def __init__(self, reached: str, solution: Solution | None = None) -> None:
        super().__init__(reached)
        self.reached = reached
        self.solution = solution


def end_interrupted(message: str, next_line: str | None = None) -> NoReturn:
    """End an interrupted command.

    Args:
        message: follows the word "Interrupted": what was reached, and what is kept.
        next_line: the line to type to go on, where there is one.
    """
    console.print(f"[yellow]Interrupted[/yellow]{message}", soft_wrap=True)
    if next_line is not None:
        console.print(f"  {next_line}", soft_wrap=True)
    raise typer.Exit(INTERRUPTED_EXIT)


@contextmanager
def failing_in_one_line(*errors: type[Exception]) -> Iterator[None]:
    """End the command with one line where a run fails.

    Args:
        errors: what a run may raise besides RuntimeError, ValueError and TypeError.
    """
    failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, TypeError, *errors)
    try:
        yield
    except typer.Exit:  # a RuntimeError, but one that has printed its line
        raise
    except failures as error:
        end_with_error(str(error), code=FAILED_EXIT)
