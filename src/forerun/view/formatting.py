"""Numbers as words: durations, ratios, powers of ten, and counts with their noun."""

from __future__ import annotations

import math

TIME_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
NANOSECOND = 1e-9
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_duration(seconds: float) -> str:
    """Return seconds in three significant digits and a unit that suits them."""
    for unit, size in TIME_UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    if not seconds:
        return "0 s"
    return f"{seconds / NANOSECOND:.3g} ns"


def format_ratio(ratio: float) -> str:
    """Return a ratio in two or three digits, such as `3.4x`."""
    if ratio >= 99.95:
        return f"{ratio:.0f}x"
    if ratio >= 9.95:
        return f"{ratio:.1f}x"
    return f"{ratio:.2g}x"


def format_gain(ratio: float, better: str, worse: str) -> str:
    """Return a ratio in words, such as `3.4x faster`; what got worse is reported as such."""
    word = better if ratio >= 1 else worse
    if not ratio:
        return f"infinitely {word}"
    return f"{format_ratio(max(ratio, 1 / ratio))} {word}"


def format_power(number: float) -> str:
    """Return a number in two digits and a power of ten, such as `1.2×10⁻⁴`."""
    if not number or not math.isfinite(number):
        return f"{number:g}"
    digits, _, exponent = f"{number:.1e}".partition("e")
    power = str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{digits}×10{power}"


def format_estimate(estimate: float | None) -> str:
    """Return an estimated deviation in two digits, or that there is none."""
    if estimate is None:
        return "not estimated"
    return f"{estimate:.1e}"


def count_noun(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 round` or `8 rounds`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}s"
