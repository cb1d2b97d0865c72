"""RunGuard: an interrupt ends a run and loses nothing; any other error reaches the user as it is, with a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, final

from forerun.engine.numerics.in_place import ChangedInPlace
from forerun.engine.rounds import Round
from forerun.engine.solution import Status

Report = Callable[[Round], None]


class AcceptedPart(Protocol):
    """What a run has come to, to go on from."""

    @property
    def accepted(self) -> str:
        """What is in it, in words."""


class Guarded(Protocol):
    """A run that can be interrupted without a loss."""

    def end(self, status: Any) -> None:
        """Let the run end where it stands."""

    def checkpoint(self) -> AcceptedPart:
        """Return what is accepted so far."""


def ignore_round(entry: Round) -> None:
    """Report a round to nobody."""


@final
class RunGuard(AbstractContextManager[Report]):
    """A context that lets an interrupt end a run, and lets any other error carry a checkpoint of what is accepted.

    It is a class, as a generator would swallow `StopIteration` and write to errors that do not allow it.

    Args:
        run: what is guarded.
        tracking: a context that gives the function to report rounds to; it never sees the error.
        interrupted: the status that the run ends with where it is interrupted.
    """

    def __init__(
        self,
        run: Guarded,
        tracking: AbstractContextManager[Report] | None = None,
        interrupted: Any = Status.INTERRUPTED,
    ) -> None:
        self._run = run
        self._interrupted = interrupted
        self._tracking = tracking or nullcontext(ignore_round)

    def __enter__(self) -> Report:
        return self._tracking.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted:
            self._run.end(self._interrupted)
        elif error is not None:
            attach_checkpoint(self._run, error)
        self._tracking.__exit__(None, None, None)
        return interrupted


def attach_checkpoint(run: Guarded, error: BaseException) -> None:
    """Give an error the attribute `checkpoint`, whatever its class does when an attribute is set."""
    if isinstance(error, ChangedInPlace):
        return  # what is accepted may have been changed as well
    try:
        checkpoint = run.checkpoint()
    except Exception as failure:  # such as a device that is lost: the user's error matters more
        note = f"what was accepted could not be kept: {type(failure).__name__}: {failure}"
    else:
        note = f"{checkpoint.accepted}: resume=error.checkpoint goes on from there"
        error.__dict__["checkpoint"] = checkpoint
    error.__dict__["__notes__"] = [*getattr(error, "__notes__", ()), note]
