"""MatrixFunction: polynomials in the entries of a matrix of SU(2), and their integrals over the group, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial
from typing import final

Powers = tuple[int, int, int, int]
Rational = int | Fraction
ENTRIES = "abcd"


@final
@dataclass(frozen=True)
class MatrixFunction:
    """A polynomial in the entries of `g = (a c; b d)` in SU(2), where `d` is the conjugate of `a` and `c` of `-b`.

    These are the functions of finite type. Two polynomials can be the same function, since `ad - bc = 1`; integrals do
    not see which was written. Functions are added, subtracted, multiplied and raised to powers like numbers:
    `(1 + c) * (a * d + b)`.

    Args:
        terms: rational coefficients by the exponents of a, b, c and d.

    Raises:
        ValueError: an exponent is negative, or a coefficient is not rational.
    """

    terms: Mapping[Powers, Rational]

    def __post_init__(self) -> None:
        for powers, coefficient in self.terms.items():
            if len(powers) != 4 or any(type(power) is not int or power < 0 for power in powers):
                raise ValueError(f"exponents must be four whole numbers from 0 on, got {powers}; (1, 0, 0, 1) is ad")
            if not isinstance(coefficient, int | Fraction):
                raise ValueError(
                    f"coefficients must be integers or fractions, got {coefficient!r}; write Fraction(1, 2)"
                )

    def __add__(self, other: MatrixFunction | Rational) -> MatrixFunction:
        total = dict(self.terms)
        for powers, coefficient in as_function(other).terms.items():
            total[powers] = total.get(powers, 0) + coefficient
        return MatrixFunction({powers: coefficient for powers, coefficient in total.items() if coefficient})

    def __mul__(self, other: MatrixFunction | Rational) -> MatrixFunction:
        total: dict[Powers, Rational] = {}
        for (r, s, t, u), coefficient in as_function(other).terms.items():
            for (i, j, k, l), count in self.terms.items():  # noqa: E741
                powers = (r + i, s + j, t + k, u + l)
                total[powers] = total.get(powers, 0) + coefficient * count
        return MatrixFunction({powers: coefficient for powers, coefficient in total.items() if coefficient})

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> MatrixFunction:
        return self * -1

    def __sub__(self, other: MatrixFunction | Rational) -> MatrixFunction:
        return self + -as_function(other)

    def __rsub__(self, other: MatrixFunction | Rational) -> MatrixFunction:
        return as_function(other) + -self

    def __pow__(self, power: int) -> MatrixFunction:
        result = as_function(1)
        for _ in range(power):
            result = result * self
        return result

    def __str__(self) -> str:
        words = []
        for powers, coefficient in self.terms.items():
            letters = [show_power(letter, power) for letter, power in zip(ENTRIES, powers, strict=True) if power]
            sign = "+" if coefficient > 0 else ""
            words.append(" ".join([f"{sign}{coefficient}", *letters]))
        return " ".join(words) or "0"

    def integrate(self) -> Fraction:
        """Return the integral over the group, whose volume is 1."""
        total = Fraction(0)
        for powers, coefficient in self.terms.items():
            total += coefficient * haar_moment(powers)
        return total

    def integrate_with(self, other: MatrixFunction) -> Fraction:
        """Return the integral of the product with another function, which is not multiplied out."""
        total = Fraction(0)
        for (r, s, t, u), coefficient in other.terms.items():
            for (i, j, k, l), count in self.terms.items():  # noqa: E741
                if r + i == u + l and s + j == t + k:
                    total += coefficient * count * haar_moment((r + i, s + j, t + k, u + l))
        return total

    def integrate_by_angles(self) -> Fraction:
        """Return the same integral over an interval and two circles, to which the conjecture is reduced.

        With `a = sqrt(1 - x) z`, `d = sqrt(1 - x) / z`, `b = sqrt(x) w`, `c = -sqrt(x) / w`, the measure is that of
        `x` in [0, 1] and of two angles; `(1 - x)^r` is multiplied out before the integral.
        """
        total = Fraction(0)
        for (r, s, t, u), coefficient in self.terms.items():
            if (r, s) == (u, t):  # others turn round with an angle
                integral = sum(Fraction((-1) ** k * comb(r, k), s + k + 1) for k in range(r + 1))
                total += coefficient * (-1) ** t * integral
        return total


def show_power(letter: str, power: int) -> str:
    """Return a power as one writes it."""
    return letter if power == 1 else f"{letter}^{power}"


def haar_moment(powers: Powers) -> Fraction:
    """Return the integral of `a^r b^s c^t d^u` over SU(2): `(-1)^s r! s! / (r + s + 1)!` if r = u and s = t, or 0."""
    r, s, t, u = powers
    if (r, s) != (u, t):
        return Fraction(0)
    return Fraction((-1) ** s * factorial(r) * factorial(s), factorial(r + s + 1))


def coordinate_functions() -> tuple[MatrixFunction, MatrixFunction, MatrixFunction, MatrixFunction]:
    """Return the entries a, b, c and d as functions on SU(2)."""
    a, b, c, d = (MatrixFunction({_unit_powers(place): 1}) for place in range(4))
    return a, b, c, d


def _unit_powers(place: int) -> Powers:
    return (int(place == 0), int(place == 1), int(place == 2), int(place == 3))


def as_function(value: MatrixFunction | Rational) -> MatrixFunction:
    """Return a function, from a number where it is one."""
    return value if isinstance(value, MatrixFunction) else MatrixFunction({(0, 0, 0, 0): value})
