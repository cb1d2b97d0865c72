"""Moments: whether all powers of a function integrate to zero, and what becomes of them beside another function."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from forerun.exact.mathieu.functions import MatrixFunction, as_function, coordinate_functions

MAX_POWER = 200


@dataclass(frozen=True)
class MomentTable:
    """The integrals of `f^n` and of `f^n g` over SU(2), for n = 1 .. N.

    Attributes:
        plain: those of `f^n`, exact.
        paired: those of `f^n g`, exact.
    """

    plain: list[Fraction]
    paired: list[Fraction]

    @property
    def value(self) -> list[Fraction]:
        """The integrals of `f^n g`."""
        return self.paired

    @property
    def is_null(self) -> bool:
        """Whether all integrals of powers of f are zero, as far as they were computed."""
        return not any(self.plain)

    @property
    def last_nonzero(self) -> int:
        """The largest n whose integral with g is not zero; 0 where all are."""
        return max((n for n, moment in enumerate(self.paired, start=1) if moment), default=0)

    @property
    def contradicts(self) -> bool:
        """Whether powers of f integrate to zero and one of the last two with g does not.

        Mathieu's conjecture says that they end. For finitely many n this is evidence against it, and no proof.
        """
        return self.is_null and self.last_nonzero > max(len(self.plain) - 2, 0)


def list_moments(
    f: MatrixFunction,
    g: MatrixFunction | int = 1,
    *,
    powers: int = 20,
) -> MomentTable:
    """Return the integrals of `f^n` and `f^n g` over SU(2), for n from 1 to `powers`.

    Raises:
        ValueError: the number of powers is out of range.
    """
    if not isinstance(powers, int) or not 1 <= powers <= MAX_POWER:
        raise ValueError(f"powers must be a whole number from 1 to {MAX_POWER}, got {powers!r}; write powers=20")
    plain, paired = [], []
    power, other = as_function(1), as_function(g)
    for _ in range(powers):
        power = power * f
        plain.append(power.integrate())
        paired.append(power.integrate_with(other))
    return MomentTable(plain, paired)


def long_counterexample() -> tuple[MatrixFunction, MatrixFunction]:
    """Return F and G of C. D. Long (arXiv 2607.19012, 2026), by which Mathieu's conjecture fails on SU(2).

        F = (1 + c) (ad + b),   G = -c:      int F^n = 0,   int F^n G = (-1)^{n-1} / (n + 1)      for all n >= 1

    Proof: `F^n` is the sum of `C(n, k) C(n, s) c^k (ad)^{n-s} b^s`, of which `k = s` is left by the integral. Since
    `C(n, s) (n - s)! s! = n!`, it is the sum of `(-1)^s C(n, s) / (n + 1)`, which is 0. With `-c`, `k = s - 1` is left,
    and the sum of `(-1)^{s-1} C(n, s - 1) / (n + 1)` over s from 1 to n lacks the last term of one that is 0.
    """
    a, b, c, d = coordinate_functions()
    return (1 + c) * (a * d + b), -c
