"""ColouredZeta: multiple polylogarithms at roots of unity, by iterated integrals over half the way, in balls.

The path from 0 to 1 is cut in the middle, and the second half is turned round, `t -> 1 - t`. Both halves are power
series whose coefficients are at most `r^-n`, with r the distance of the nearest letter from 0, so that what is left of
the series after N terms is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, pi, prod, sin
from typing import Any, final

from forerun.exact.apery.precision import count_bits, work_precisely
from forerun.exact.exact_libraries import load_flint

MAX_LEVEL = 12  # beyond, 1 - root lies within 1/2 of zero, where the second half does not converge
MAX_LETTERS = 8


@final
@dataclass(frozen=True)
class ColouredZeta:
    """A coloured multiple zeta value.

        Z = sum_{n_1 > ... > n_d >= 1} prod_j x_j^{n_j} / n_j^{s_j},        x_j = exp(2 pi i colour_j / level)

    Args:
        exponents: `(s_1, ..., s_d)`, of a sum, the weight, of at most 8.
        colours: `(colour_1, ..., colour_d)`.
        level: 1 to 12.

    Raises:
        ValueError: the sum diverges, or is out of range.
    """

    exponents: tuple[int, ...]
    colours: tuple[int, ...]
    level: int = 8

    def __post_init__(self) -> None:
        if not self.exponents or len(self.exponents) != len(self.colours):
            raise ValueError(f"got the exponents {self.exponents} and the colours {self.colours}; pass as many of each")
        if min(self.exponents) < 1 or sum(self.exponents) > MAX_LETTERS:
            raise ValueError(f"exponents must be 1 or more, of a sum of at most {MAX_LETTERS}, got {self.exponents}")
        if not 1 <= self.level <= MAX_LEVEL:
            raise ValueError(f"level must be from 1 to {MAX_LEVEL}, got {self.level}; write level=8")
        if self.exponents[0] == 1 and self.colours[0] % self.level == 0:
            raise ValueError(f"the sum with the exponents {self.exponents} and the colours {self.colours} diverges; "
                             "begin with an exponent of 2, or with another colour")  # fmt: skip

    def evaluate(self, digits: int = 80) -> Any:
        """Return the value as a complex ball of python-flint, with about so many digits.

        Raises:
            ValueError: the digits are out of range.
            ImportError: python-flint is not installed.
        """
        with work_precisely(digits):
            turn = 0
            letters: list[Any] = []
            for exponent, colour in zip(self.exponents, self.colours, strict=True):
                turn = (turn + colour) % self.level
                letters = [invert_root(turn, self.level), *[0] * (exponent - 1), *letters]
        return integrate_word(letters, digits=digits, distance=self.nearest_distance)

    @property
    def nearest_distance(self) -> float:
        """A lower bound of the distances from 0 of all letters, and of 1 minus a letter that is not 1."""
        return min(1.0, 2 * sin(pi / self.level) * (1 - 1e-12)) if self.level > 1 else 1.0


def invert_root(turn: int, level: int) -> Any:
    """Return `exp(-2 pi i turn / level)`, the integer 1 where it is that."""
    if not turn:
        return 1
    flint = load_flint()
    angle = flint.arb(-2 * turn) / level
    return flint.acb(angle.cos_pi(), angle.sin_pi())


def integrate_word(letters: Sequence[Any], *, digits: int = 80, distance: float) -> Any:
    """Return an iterated integral along the real line, as a complex ball.

        int_{0 < t_1 < ... < t_k < 1} w_1(t_1) ... w_k(t_k),        w_a(t) = dt / (a - t),  w_0(t) = dt / t

    Args:
        letters: `(a_1, ..., a_k)`; the integers 0 and 1 stand for themselves, others are complex balls.
        digits: how many are wanted.
        distance: a lower bound, above 1/2, of the distances from 0 of all letters and of 1 minus all others than 1.

    Raises:
        ValueError: the integral diverges at an end, or a letter is too near.
    """
    if not letters or is_number(letters[0], 0) or is_number(letters[-1], 1):
        raise ValueError("the integral diverges: a word must not begin with 0, nor end with 1")
    if not 0.5 < distance <= 1:
        raise ValueError(f"distance must be above 1/2 and at most 1, got {distance}: letters lie too near to an end")
    count = ceil(count_bits(digits) * log(2) / log(2 * distance)) + 2
    with work_precisely(digits):
        turned = [turn_letter(letter) for letter in reversed(letters)]
        first_half = integrate_prefixes(letters, count, distance)
        second_half = integrate_prefixes([letter for letter, _ in turned], count, distance)
        signs = [prod(sign for _, sign in turned[:length]) for length in range(len(letters) + 1)]
        total = load_flint().acb(0)
        for first, second, sign in zip(first_half, reversed(second_half), reversed(signs), strict=True):
            total += first * second * sign
        return total


def integrate_prefixes(letters: Sequence[Any], count: int, distance: float) -> list[Any]:
    """Return the integrals of all prefixes of a word from 0 to 1/2, the empty one first, from series of N terms."""
    flint = load_flint()
    ratio = 1 / (2 * flint.arb(distance))
    tail = flint.acb(flint.arb(0, (ratio**count / (1 - ratio)).upper()))
    coefficients = [flint.acb(1)] + [flint.acb(0)] * (count - 1)
    values = [flint.acb(1)]
    for letter in letters:
        coefficients = integrate_letter(coefficients, letter)
        value = flint.acb(0)
        for coefficient in reversed(coefficients):
            value = value / 2 + coefficient
        values.append(value + tail + flint.acb(0, 1) * tail)
    return values


def integrate_letter(coefficients: Sequence[Any], letter: Any) -> list[Any]:
    """Return the coefficients of the integral of a series times one form: `dt / (a - t)`, or `dt / t` for 0."""
    if is_number(letter, 0):
        return [coefficients[0], *(coefficient / n for n, coefficient in enumerate(coefficients) if n)]
    total = coefficients[0] * 0
    integrals = [total]
    for n, coefficient in enumerate(coefficients[:-1], start=1):
        if is_number(letter, 1):
            total += coefficient
            integrals.append(total / n)
        else:  # powers of the letter, since balls that are turned step by step grow
            total += coefficient * letter ** (n - 1)
            integrals.append(total / (letter**n * n))
    return integrals


def turn_letter(letter: Any) -> tuple[Any, int]:
    """Return the letter under `t -> 1 - t`, and the sign of its form."""
    if isinstance(letter, int):
        return 1 - letter, 1
    return 1 - letter, -1


def is_number(letter: Any, number: int) -> bool:
    """Return whether a letter is the integer 0, or 1, and no ball."""
    return isinstance(letter, int) and letter == number
