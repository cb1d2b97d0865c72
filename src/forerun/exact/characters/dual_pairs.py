"""Dual pairs: a kernel in two sets of variables, expanded in products of characters of two groups."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from forerun.exact.characters.groups import ClassicalGroup, Weight
from forerun.exact.characters.weyl import LaurentTerms, expand_alternant, multiply_terms

MAX_PAIRS = 6


@dataclass(frozen=True)
class DualPair:
    """The kernel `prod_{i,j} (x_i + 1/x_i + sign (y_j + 1/y_j))` in characters of two groups.

    Attributes:
        first: the group of `x`, of rank n.
        second: the group of `y`, of rank m.
        sign: in the kernel.
        coefficients: of `ch_a(x) ch_b(y)`, by the highest weights `(a, b)`; exact.
    """

    first: ClassicalGroup
    second: ClassicalGroup
    sign: int
    coefficients: dict[tuple[Weight, Weight], int]

    @property
    def is_dual(self) -> bool:
        """Whether every weight in the box `m^n` meets exactly its complement, turned over, with 1 or -1."""
        dual = {(weight, self.match_weight(weight)) for weight, _ in self.coefficients}
        return dual == set(self.coefficients) and set(self.coefficients.values()) <= {1, -1}

    def match_weight(self, weight: Weight) -> Weight:
        """Return the partner of a weight: the conjugate of its complement in the box of n rows and m columns."""
        complement = [self.second.rank - entry for entry in reversed(weight)]
        columns = range(1, self.second.rank + 1)
        return tuple(Fraction(sum(entry >= column for entry in complement)) for column in columns)


def expand_kernel(
    first: ClassicalGroup,
    second: ClassicalGroup,
    *,
    sign: int = 1,
) -> DualPair:
    """Expand the kernel `prod_{i,j} (x_i + 1/x_i + sign (y_j + 1/y_j))` in characters of two groups.

    The kernel times both Weyl denominators alternates in both sets of variables, and its terms of falling exponents are
    the coefficients: all of them are read off, and none is assumed to be zero.

    Args:
        first: the group of the variables `x`.
        second: the group of the variables `y`.
        sign: 1 or -1.

    Raises:
        ValueError: the groups are too large, or the sign is another.
        ImportError: python-flint is not installed.
    """
    if first.rank * second.rank > MAX_PAIRS:
        raise ValueError(
            f"the kernel of {first.name} and {second.name} has {first.rank * second.rank} factors, of which at most "
            f"{MAX_PAIRS} are multiplied out; pass ranks such as 2 and 3"
        )
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign!r}; write expand_kernel(first, second, sign=-1)")
    ranks = (first.rank, second.rank)
    polynomial = multiply_denominators(first, second)
    for i in range(first.rank):
        for j in range(second.rank):
            polynomial = multiply_terms(polynomial, expand_factor(ranks, (i, first.rank + j), sign))
    coefficients = {}
    for powers, count in polynomial.items():
        rows = (powers[: first.rank], powers[first.rank :])
        if is_falling(first, rows[0]) and is_falling(second, rows[1]):
            coefficients[lower_exponents(first, rows[0]), lower_exponents(second, rows[1])] = count
    return DualPair(first, second, sign, dict(sorted(coefficients.items(), reverse=True)))


def multiply_denominators(first: ClassicalGroup, second: ClassicalGroup) -> LaurentTerms:
    """Return the product of the Weyl denominators in both sets of variables."""
    rows = expand_alternant(first, first.rho)
    columns = expand_alternant(second, second.rho)
    return {left + right: rows[left] * columns[right] for left in rows for right in columns}


def expand_factor(
    ranks: tuple[int, int],
    places: tuple[int, int],
    sign: int,
) -> LaurentTerms:
    """Return `x + 1/x + sign (y + 1/y)` for the variables at two places."""
    terms: LaurentTerms = {}
    for place, coefficient in zip(places, (1, sign), strict=True):
        for power in (2, -2):
            powers = [0] * sum(ranks)
            powers[place] = power
            terms[tuple(powers)] = coefficient
    return terms


def is_falling(group: ClassicalGroup, doubled: tuple[int, ...]) -> bool:
    """Return whether exponents are those of a dominant weight to which rho was added."""
    sizes = (*doubled[:-1], abs(doubled[-1])) if group.splits else doubled
    return all(first > second for first, second in pairwise(sizes)) and sizes[-1] >= 2 * group.last_root


def lower_exponents(group: ClassicalGroup, doubled: tuple[int, ...]) -> Weight:
    """Return the weight of doubled exponents, with rho taken away."""
    return tuple(Fraction(power, 2) - root for power, root in zip(doubled, group.rho, strict=True))
