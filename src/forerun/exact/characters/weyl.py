"""Weyl characters, exactly: alternants as integer polynomials, and their quotients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import permutations, product
from math import prod
from typing import Any

from forerun.exact.characters.groups import MAX_ALTERNANT_RANK, ClassicalGroup, Weight
from forerun.exact.exact_libraries import load_flint

# A Laurent polynomial: coefficients by twice the exponents, so that those of spin characters are whole.
LaurentTerms = dict[tuple[int, ...], int]


def weyl_character(
    group: ClassicalGroup,
    weight: Sequence[int | Fraction],
) -> dict[Weight, int]:
    """Return the multiplicities of the weights of an irreducible representation.

    Args:
        group: such as `symplectic_group(4)`.
        weight: its highest weight, `(a_1 >= ... >= a_n >= 0)`, whole, or of halves for spin.

    Returns:
        Multiplicities by weight, `(n,)`; weights that do not occur are left out.

    Raises:
        ValueError: the weight is not one of the group.
        ImportError: python-flint is not installed.
    """
    highest = group.check_weight(weight)
    numerator = expand_alternant(group, _add_weights(highest, group.rho))
    quotient = divide_terms(numerator, expand_alternant(group, group.rho))
    return {tuple(Fraction(power, 2) for power in powers): count for powers, count in quotient.items()}


def count_dimension(group: ClassicalGroup, weight: Sequence[int | Fraction]) -> int:
    """Return the dimension of an irreducible representation, by Weyl's product over the positive roots.

        prod_{i<j} (l_i^2 - l_j^2) / (r_i^2 - r_j^2)  x  prod_i l_i / r_i,      l = weight + rho,  r = rho

    without the second product for O(2n), where the two halves of a weight that does not end at zero are added.
    """
    highest = group.check_weight(weight)
    shifted, rho = _add_weights(highest, group.rho), group.rho
    pairs = [(i, j) for i in range(group.rank) for j in range(i + 1, group.rank)]
    dimension = Fraction(1)
    for i, j in pairs:
        dimension *= (shifted[i] ** 2 - shifted[j] ** 2) / (rho[i] ** 2 - rho[j] ** 2)
    if group.sign < 0:
        dimension *= prod(map(Fraction, shifted), start=Fraction(1)) / prod(rho, start=Fraction(1))
    elif highest[-1] and not group.splits:
        dimension *= 2
    return int(dimension)


def multiply_characters(
    group: ClassicalGroup,
    first: Sequence[int | Fraction],
    second: Sequence[int | Fraction],
) -> dict[Weight, int]:
    """Return how often every irreducible character occurs in the product of two.

    By the weights of the second and reflections of the Weyl group (Brauer, Klimyk), with no polynomial division of the
    product.
    """
    start = _add_weights(group.check_weight(first), group.rho)
    multiplicities: dict[Weight, Fraction] = {}
    copies = count_copies(group, start)
    for weight, count in weyl_character(group, second).items():
        sign, dominant = reflect_weight(group, _add_weights(start, weight))
        if sign:
            share = Fraction(sign * count * copies, count_copies(group, dominant))
            highest = _add_weights(dominant, tuple(-root for root in group.rho))
            multiplicities[highest] = multiplicities.get(highest, Fraction(0)) + share
    return {highest: int(count) for highest, count in sorted(multiplicities.items(), reverse=True) if count}


def count_copies(group: ClassicalGroup, shifted: Weight) -> int:
    """Return 2 for a shifted weight of O(2n) that does not end at zero, whose last entry has two signs; otherwise 1."""
    return 2 if group.sign > 0 and shifted[-1] and not group.splits else 1


def reflect_weight(group: ClassicalGroup, shifted: Weight) -> tuple[int, Weight]:
    """Return the dominant image of a weight to which rho was added, and the sign of the reflection; 0 for none.

    These are the modification rules: an alternant is 0 where two of its exponents agree up to their sign.
    """
    inverses = sum(entry < 0 for entry in shifted)
    sizes = [abs(entry) for entry in shifted]
    if len(set(sizes)) < len(sizes) or (group.sign < 0 and 0 in sizes):
        return 0, ()
    order = sorted(range(len(sizes)), key=lambda place: -sizes[place])
    dominant = [sizes[place] for place in order]
    if group.splits and inverses % 2:
        dominant[-1] = -dominant[-1]
    return int(group.sign**inverses) * permutation_sign(order), tuple(dominant)


def expand_alternant(group: ClassicalGroup, exponents: Weight) -> LaurentTerms:
    """Return the terms of the alternant `A(exponents)` of a group.

    Raises:
        ValueError: the rank is too large to write them down.
    """
    if group.rank > MAX_ALTERNANT_RANK:
        raise ValueError(
            f"an alternant of {group.name} has 2^{group.rank} {group.rank}! terms, too many to write down beyond rank "
            f"{MAX_ALTERNANT_RANK}; for coefficients alone write expand_product(group, factor, certify=False)"
        )
    doubled = [int(2 * exponent) for exponent in exponents]
    choices = _choose_inverses(group, doubled)
    terms: LaurentTerms = {}
    for order in permutations(range(group.rank)):
        parity = permutation_sign(order)
        for choice in choices:
            powers = tuple(choice[place] * doubled[place] for place in order)
            terms[powers] = parity * int(group.sign ** choice.count(-1))
    return terms


def _choose_inverses(
    group: ClassicalGroup,
    doubled: Sequence[int],
) -> list[tuple[int, ...]]:
    """Return the choices of a variable, 1, or its inverse, -1, for every exponent that is not zero."""
    choices = list(product(*([1] if not size else [1, -1] for size in doubled)))
    if group.splits and 0 not in doubled:
        return [choice for choice in choices if prod(choice) > 0]
    return choices


def permutation_sign(order: Sequence[int]) -> int:
    """Return the sign of a permutation of `range(n)`."""
    inversions = sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order)))
    return -1 if inversions % 2 else 1


def add_terms(
    polynomials: Iterable[tuple[int, Mapping[tuple[int, ...], int]]],
) -> LaurentTerms:
    """Return the sum of polynomials with a coefficient each; terms that cancel are left out."""
    total: LaurentTerms = {}
    for coefficient, terms in polynomials:
        for powers, count in terms.items():
            total[powers] = total.get(powers, 0) + coefficient * count
    return {powers: count for powers, count in total.items() if count}


def multiply_terms(first: LaurentTerms, second: LaurentTerms) -> LaurentTerms:
    """Return the product of two Laurent polynomials, by python-flint."""
    (left, low_left), (right, low_right) = _to_polynomial(first), _to_polynomial(second)
    lowest = [one + other for one, other in zip(low_left, low_right, strict=True)]
    return _from_polynomial(left * right, lowest)


def divide_terms(numerator: LaurentTerms, denominator: LaurentTerms) -> LaurentTerms:
    """Return the quotient of two Laurent polynomials, which must be one; by python-flint."""
    (top, low_top), (bottom, low_bottom) = _to_polynomial(numerator), _to_polynomial(denominator)
    lowest = [one - other for one, other in zip(low_top, low_bottom, strict=True)]
    return _from_polynomial(top / bottom, lowest)


def _to_polynomial(terms: LaurentTerms) -> tuple[Any, list[int]]:
    """Return a polynomial of python-flint, and the lowest exponents, which were taken from its terms."""
    lowest = [min(column) for column in zip(*terms, strict=True)]
    flint = load_flint()
    names = tuple(f"x{place}" for place in range(len(lowest)))
    context = flint.fmpz_mpoly_ctx.get(names, "lex")
    raised = {tuple(power - low for power, low in zip(powers, lowest, strict=True)): terms[powers] for powers in terms}
    return context.from_dict(raised), lowest


def _from_polynomial(polynomial: Any, lowest: Sequence[int]) -> LaurentTerms:
    """Return the terms of a polynomial of python-flint, with its lowest exponents back."""
    terms = polynomial.to_dict()
    return {
        tuple(int(power) + low for power, low in zip(powers, lowest, strict=True)): int(count)
        for powers, count in terms.items()
    }


def _add_weights(first: Weight, second: Weight) -> Weight:
    return tuple(one + other for one, other in zip(first, second, strict=True))
