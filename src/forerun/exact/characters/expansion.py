"""Products of one factor a variable, expanded in characters: coefficients by a recurrence in the rank, and certified.

With `g(x) = sum_k g_k x^k = g(1/x)`, `A(rho) prod_i g(x_i)` is an alternating polynomial, so that

    prod_i g(x_i) = sum_a c(a) ch_a,        c(a) = det [ g_{l_i - r_j} + sign g_{l_i + r_j} ],    l = a + rho, r = rho

(with a single `g_{l_i}` where `r_j = 0`). Along the column of the largest `r`, the determinant is the recurrence

    c_n(a) = sum_i (-1)^{i-1} (g_{l_i - r_1} + sign g_{l_i + r_1}) c_{n-1}(a_1 + 1, ..., a_{i-1} + 1, a_{i+1}, ..., a_n)

of at most `2 degree + 1` terms, which is what modification rules come to (King, arXiv 2303.00576).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, product
from math import comb

from forerun.exact.characters.groups import ClassicalGroup, Weight, show_weight
from forerun.exact.characters.weyl import LaurentTerms, add_terms, expand_alternant, multiply_terms
from forerun.exact.exact_libraries import load_flint

Factor = (
    Mapping[int, int] | Mapping[Fraction, int] | Mapping[int | Fraction, int]
)  # a symmetric Laurent polynomial, coefficients by exponent
MAX_WEIGHTS = 20_000


@dataclass(frozen=True)
class CharacterExpansion:
    """A product of one factor a variable, as a sum of characters.

    Attributes:
        group: whose characters.
        factor: coefficients of the factor by exponent.
        coefficients: by highest weight, those that are not zero.
        examined: how many weights could have had one.
        certified: whether both sides, times the Weyl denominator, were found to be the same polynomial.
    """

    group: ClassicalGroup
    factor: Factor
    coefficients: dict[Weight, int]
    examined: int
    certified: bool

    @property
    def value(self) -> dict[Weight, int]:
        """The coefficients."""
        return self.coefficients

    def __str__(self) -> str:
        terms = [f"{count:+d} {show_weight(weight)}" for weight, count in self.coefficients.items()]
        state = "the same polynomial, certified" if self.certified else "not certified"
        return f"{self.group.name}: {' '.join(terms)} ({state})"


def expand_product(
    group: ClassicalGroup,
    factor: Factor,
    *,
    certify: bool = True,
) -> CharacterExpansion:
    """Expand `prod_i g(x_i)` in the characters of a group.

    Args:
        group: such as `orthogonal_group(7)`.
        factor: `g` as coefficients by exponent, such as `{2: 1, 0: 1, -2: 1}`; halves of odd numbers for spin.
        certify: multiply out both sides, times the Weyl denominator, and compare them as polynomials.

    Raises:
        ValueError: the factor is not symmetric, is not one of the group, or has too many weights.
        ArithmeticError: the two sides differ, which would be an error of this library.
        ImportError: python-flint is not installed.
    """
    doubled = double_factor(group, factor)
    weights = list_weights(group, doubled)
    coefficients = {}
    for weight in weights:
        coefficient = coefficient_by_recurrence(group, factor, weight)
        if coefficient:
            coefficients[weight] = coefficient
    if certify and multiply_out(group, doubled) != add_up(group, coefficients):
        raise ArithmeticError(f"the expansion of {dict(factor)} in {group.name} is wrong; please report it")
    return CharacterExpansion(group, dict(factor), coefficients, len(weights), certify)


def coefficient_by_recurrence(
    group: ClassicalGroup,
    factor: Factor,
    weight: Sequence[int | Fraction],
) -> int:
    """Return the coefficient of one character, by the recurrence in the rank."""
    doubled = double_factor(group, factor)
    highest = group.check_weight(weight)
    last_root = int(2 * group.last_root)

    @cache
    def reduce_rank(parts: tuple[int, ...]) -> int:
        if not parts:
            return 1
        root = 2 * (len(parts) - 1) + last_root  # the first entry of rho, doubled like all exponents here
        total = 0
        for place, entry in enumerate(parts):
            exponent = entry + root - 2 * place
            factor_entry = combine_entries(doubled, exponent, root, group.sign)
            if factor_entry:
                raised = tuple(earlier + 2 for earlier in parts[:place])
                total += (-1) ** place * factor_entry * reduce_rank(raised + parts[place + 1 :])
        return total

    return reduce_rank(tuple(abs(int(2 * entry)) for entry in highest))


def coefficient_by_determinant(
    group: ClassicalGroup,
    factor: Factor,
    weight: Sequence[int | Fraction],
) -> int:
    """Return the coefficient of one character as a determinant, by python-flint: the rival of the recurrence."""
    doubled = double_factor(group, factor)
    roots = [int(2 * root) for root in group.rho]
    parts = [abs(int(2 * entry)) for entry in group.check_weight(weight)]
    rows = [entry + root for entry, root in zip(parts, roots, strict=True)]
    entries = [[combine_entries(doubled, row, root, group.sign) for root in roots] for row in rows]
    return int(load_flint().fmpz_mat(entries).det())


def combine_entries(
    doubled: Mapping[int, int],
    exponent: int,
    root: int,
    sign: int,
) -> int:
    """Return the entry of the determinant for one exponent and one root, both doubled."""
    direct = doubled.get(exponent - root, 0)
    return direct + sign * doubled.get(exponent + root, 0) if root else direct


def double_factor(group: ClassicalGroup, factor: Factor) -> dict[int, int]:
    """Return the factor with whole exponents, twice those that were passed.

    Raises:
        ValueError: it is empty, not symmetric, not of integers, or mixes whole and half exponents.
    """
    doubled = {Fraction(2 * exponent): coefficient for exponent, coefficient in factor.items() if coefficient}
    if not doubled:
        raise ValueError("the factor has no terms; pass coefficients by exponent, such as {1: 1, 0: 2, -1: 1}")
    if {type(coefficient) for coefficient in doubled.values()} != {int}:
        raise ValueError(f"the coefficients of {dict(factor)} must be integers; multiply them by their denominator")
    parities = {exponent % 2 for exponent in doubled}
    if parities not in ({0}, {1}):
        raise ValueError(
            f"the exponents of {dict(factor)} must all be whole, or all be halves of odd numbers, as in "
            "{Fraction(1, 2): 1, Fraction(-1, 2): 1}"
        )
    if parities == {1} and not group.has_spin:
        raise ValueError(f"{group.name} has no spin characters; take orthogonal_group({2 * group.rank + 1})")
    return _check_symmetry(group, doubled)


def _check_symmetry(
    group: ClassicalGroup,
    doubled: Mapping[Fraction, int],
) -> dict[int, int]:
    """Return a factor that is the same under `x -> 1/x`, with integer exponents; refuse others."""
    for exponent, coefficient in doubled.items():
        if doubled.get(-exponent, 0) != coefficient:
            raise ValueError(
                f"the factor changes under x -> 1/x, but characters of {group.name} do not; give the exponent "
                f"{-exponent / 2} the coefficient {coefficient}"
            )
    return {int(exponent): coefficient for exponent, coefficient in doubled.items()}


def multiply_spin(factor: Factor) -> dict[Fraction, int]:
    """Return a factor times `x^(1/2) + x^(-1/2)`, that of the spin character; terms that cancel stay, as zeros."""
    half = Fraction(1, 2)
    product_terms: dict[Fraction, int] = {}
    for power, count in factor.items():
        for exponent in (power + half, power - half):
            product_terms[exponent] = product_terms.get(exponent, 0) + count
    return product_terms


def find_period(sequence: Sequence[int]) -> int:
    """Return the smallest period that a sequence shows at least twice, such as coefficients along the rank; or 0."""
    for period in range(1, len(sequence) // 2 + 1):
        if all(first == second for first, second in zip(sequence, sequence[period:], strict=False)):
            return period
    return 0


def list_weights(group: ClassicalGroup, doubled: Mapping[int, int]) -> list[Weight]:
    """Return all dominant weights whose entries are at most the degree of the factor, the highest first.

    Raises:
        ValueError: there are too many.
    """
    degree = max(doubled)
    steps = degree // 2 + 1
    count = comb(group.rank + steps - 1, steps - 1)
    if count > MAX_WEIGHTS:
        raise ValueError(f"a factor of degree {degree / 2:g} has {count} weights in {group.name}, of which at most "
                         f"{MAX_WEIGHTS} are listed; ask coefficient_by_recurrence(group, factor, weight)")  # fmt: skip
    entries = [Fraction(exponent, 2) for exponent in range(degree, -1, -2)]
    weights = list(combinations_with_replacement(entries, group.rank))
    if group.splits:
        weights += [(*weight[:-1], -weight[-1]) for weight in weights if weight[-1]]
    return weights


def multiply_out(group: ClassicalGroup, doubled: Mapping[int, int]) -> LaurentTerms:
    """Return the product of the factors, times the Weyl denominator."""
    terms: LaurentTerms = {}
    for choice in product(doubled.items(), repeat=group.rank):
        coefficient = 1
        for _, count in choice:
            coefficient *= count
        terms[tuple(exponent for exponent, _ in choice)] = coefficient
    return multiply_terms(terms, expand_alternant(group, group.rho))


def add_up(group: ClassicalGroup, coefficients: Mapping[Weight, int]) -> LaurentTerms:
    """Return the sum of characters, times the Weyl denominator."""
    alternants = []
    for weight, count in coefficients.items():
        shifted = tuple(entry + root for entry, root in zip(weight, group.rho, strict=True))
        alternants.append((count, expand_alternant(group, shifted)))
    return add_terms(alternants)
