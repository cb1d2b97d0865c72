"""The working precision of balls: how many bits some digits need, and balls with an error of known size."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from forerun.exact.exact_libraries import load_flint

MAX_DIGITS = 3000
BITS_PER_DIGIT = 3.3219280948873626
GUARD_BITS = 64


def count_bits(digits: int) -> int:
    """Return the working precision, in bits, for a number of decimal digits.

    Raises:
        ValueError: the digits are out of range.
    """
    if not isinstance(digits, int) or isinstance(digits, bool) or not 1 <= digits <= MAX_DIGITS:
        raise ValueError(f"digits must be a whole number from 1 to {MAX_DIGITS}, got {digits!r}; write digits=80")
    return int(digits * BITS_PER_DIGIT) + GUARD_BITS


def work_precisely(digits: int) -> AbstractContextManager[Any]:
    """Return a context in which python-flint works with enough bits for some digits, and with its own again after."""
    context: AbstractContextManager[Any] = load_flint().ctx.workprec(count_bits(digits))
    return context
