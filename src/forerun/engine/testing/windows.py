"""check_window: whether a window keeps its contract."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.testing.agreement import (
    Problems,
    require,
    require_sequential_answer,
    small_problems,
)
from forerun.engine.windows import Window

PATH_LENGTH = 400  # steps of the path that the logs belong to


@torch.no_grad()
def check_window(window: Window, *, problems: Problems | None = None) -> None:
    """Check that a window keeps its contract: widths that follow from the log alone, and the sequential answer.

    Args:
        window: the window.
        problems: processes and their first states to try it on; None for some small ones in double precision.

    Raises:
        ContractBroken: it does not.
    """
    for log in _sample_logs():
        _check_width(window, log)
    for process, state in small_problems() if problems is None else problems:
        require_sequential_answer(process, state, window=window)


def _check_width(window: Window, log: Sequence[Round]) -> None:
    """Request the width of the round after a log twice."""
    before = list(log)
    first = window.width(log, PATH_LENGTH)
    second = window.width(log, PATH_LENGTH)
    require(
        isinstance(first, int) and first >= 0,
        f"width gave {first!r}; give a whole number of steps, or 0 to go on in order",
    )
    require(
        first == second,
        f"width gave {first} and {second} for the same log; keep nothing in self",
    )
    require(list(log) == before, "width modified the log; only read it")
    if first == 0:
        note = window.note(log, PATH_LENGTH)
        require(
            note is None or isinstance(note, str),
            f"note gave {note!r}; give a sentence, or None",
        )


def _sample_logs() -> list[list[Round]]:
    """Return logs of runs that go well and badly, from their beginning to the middle."""
    logs = []
    for accepted in (1, 3, 16):
        log = _sample_log(accepted)
        logs += [log[:count] for count in range(len(log) + 1)]
    return logs


def _sample_log(accepted: int) -> list[Round]:
    """Return a log of two single steps, and of rounds of 16 steps that accept so many."""
    log = []
    start = 0
    for width in (1, 1, 16, 16, 16, 16, 16):
        count = min(accepted, width)
        timing = RoundTiming(evaluate=1e-3 * (1 + 0.1 * width), overhead=1e-4)
        residuals = tuple(1e-2 * float(step >= count) for step in range(width))
        entry = Round(
            start=start,
            stop=start + width,
            accepted=count,
            residuals=residuals,
            threshold=1e-3,
            rounds=1,
            evaluations=width,
            timing=timing,
        )
        log.append(entry)
        start += count
    return log
