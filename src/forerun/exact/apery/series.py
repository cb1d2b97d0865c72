"""BinomialSeries: sums over inverse central binomial coefficients, in balls whose radius is proven."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import comb, log
from typing import Any, final

import torch
from torch import Tensor

from forerun.exact.apery.precision import count_bits, work_precisely
from forerun.exact.exact_libraries import load_flint

MAX_WEIGHT = 12
CHEBYSHEV_RATE = log(3 + 8**0.5)  # the error of the alternating sum falls by 3 + sqrt(8) with every term


@final
@dataclass(frozen=True)
class BinomialSeries:
    """An alternating sum over inverse central binomial coefficients.

        S = sum_{n >= 1} base^n / (n^weight C(2n, n)),        -4 <= base < 0

    Its terms are, up to their sign, moments of a positive measure on [0, 1]: `1 / n^s` and
    `1 / C(2n, n) = (2n + 1) int (t - t^2)^n dt` are, and so are their products. The sum of Cohen, Rodriguez Villegas
    and Zagier (Experiment. Math. 9, 2000) over N terms is then wrong by at most the first term over
    `((3 + sqrt 8)^N + (3 - sqrt 8)^N) / 2`.

    Args:
        weight: 1 to 12.
        base: a rational; -4 is where the series only just converges.

    Raises:
        ValueError: the weight or the base is out of range.
    """

    weight: int
    base: int | Fraction = -4

    def __post_init__(self) -> None:
        if not isinstance(self.weight, int) or not 1 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight must be a whole number from 1 to {MAX_WEIGHT}, got {self.weight!r}; write 3")
        if not isinstance(self.base, int | Fraction) or not -4 <= self.base < 0:
            raise ValueError(
                f"base must be a negative rational of at least -4, got {self.base!r}: the series must alternate and "
                "converge; write -4, or Fraction(-1, 2)"
            )

    def term(self, index: int) -> Fraction:
        """Return the term of an index from 1 on, exactly."""
        base = Fraction(self.base)
        below = index**self.weight * comb(2 * index, index)
        return Fraction(base.numerator**index, base.denominator**index * below)

    def evaluate(self, digits: int = 80) -> Any:
        """Return the sum as a real ball of python-flint, of a radius below `10^-digits`.

        Raises:
            ValueError: the digits are out of range.
            ImportError: python-flint is not installed.
        """
        count = int(count_bits(digits) * log(2) / CHEBYSHEV_RATE) + 2
        with work_precisely(digits):
            weights, denominator = chebyshev_weights(count)
            total = Fraction(0)
            for index, weight in enumerate(weights, start=1):
                total += weight * abs(self.term(index))
            flint = load_flint()
            value = -to_ball(total / denominator)
            bound = to_ball(abs(self.term(1)) / denominator)
            return value + flint.arb(0, bound.upper())

    def partial_sums(self, count: int) -> Tensor:
        """Return the first partial sums `(count,)` in float64, for transforms of sequences such as `Levin()`."""
        terms = torch.tensor([float(self.term(index)) for index in range(1, count + 1)], dtype=torch.float64)
        return terms.cumsum(0)


def chebyshev_weights(count: int) -> tuple[list[int], int]:
    """Return weights of the first terms of an alternating sum, with their signs, and the number to divide by.

    These are the integers of algorithm 1 of Cohen, Rodriguez Villegas and Zagier: the coefficients of
    `(P(-1) - P(x)) / (1 + x)`, with `P(x)` the Chebyshev polynomial `T_N(1 - 2x)`, and `P(-1)`.
    """
    coefficients = [1]
    for k in range(count):
        factor = Fraction(2 * (k + count) * (k - count), (2 * k + 1) * (k + 1))
        coefficients.append(int(coefficients[-1] * factor))
    scale = sum(coefficient * (-1) ** k for k, coefficient in enumerate(coefficients))
    weights, remainder = [], scale
    for coefficient in coefficients[:-1]:
        remainder -= coefficient
        weights.append(remainder)
        remainder = -remainder
    return weights, scale


def to_ball(number: Fraction) -> Any:
    """Return a rational as a real ball, at the working precision."""
    flint = load_flint()
    return flint.arb(flint.fmpq(number.numerator, number.denominator))
