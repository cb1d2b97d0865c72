"""From words to `SolveOptions`: the method, the window and the tolerance of a command."""

from __future__ import annotations

import math

from forerun.cli import words
from forerun.engine.options import SolveOptions


def read_solve_options(
    *, method: str | None = None, window: str, tolerance: float | None, advice: str = "1e-3"
) -> SolveOptions:
    """Return the options that words stand for; a tolerance stays a number, in the unit of the front door.

    Args:
        method: word for a method; None leaves the choice to the front door.
        window: word for a window, or a number of steps.
        tolerance: how far a step may still move; None leaves the choice to the front door.
        advice: a tolerance to type instead of one that makes no sense.

    Raises:
        ValueError: a word stands for nothing, or the tolerance makes no sense.
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ValueError(
            f"--tolerance {tolerance:g} is not a distance; type --tolerance {advice}, or leave the option out"
        )
    return SolveOptions(
        method=None if method is None else words.choose_word(method, words.METHODS, "--method"),
        window=words.parse_window(window),
        tolerance=tolerance,
    )
