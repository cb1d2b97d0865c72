"""Searches for counterexamples: through sums of a few monomials, and through products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from forerun.exact.mathieu.functions import MatrixFunction, Powers, as_function, coordinate_functions
from forerun.exact.mathieu.moments import list_moments


@dataclass(frozen=True)
class SearchCount:
    """What came of a search.

    Attributes:
        searched: how many functions were looked at.
        null: how many have powers that all integrate to zero, as far as the search went.
        refuted: of those, how many looked like counterexamples there and were none further on.
        candidates: pairs `(f, g)` that contradict the conjecture three times as far, too.
    """

    searched: int
    null: int
    refuted: int
    candidates: list[tuple[MatrixFunction, MatrixFunction]]

    def add_search(self, other: SearchCount) -> SearchCount:
        """Return the counts of two searches together."""
        candidates = [*self.candidates, *other.candidates]
        counts = (self.searched + other.searched, self.null + other.null, self.refuted + other.refuted)
        return SearchCount(*counts, candidates)


def search_counterexamples(
    functions: Iterable[MatrixFunction],
    *,
    powers: int = 8,
) -> SearchCount:
    """Search functions whose powers integrate to zero, while those times one or two entries do not end.

    Args:
        functions: such as `list_products(2)`.
        powers: how far both are computed; what looks like a counterexample there is computed three times as far. With
            three monomials of degree 3 there are 400 functions whose first power that counts is the tenth.
    """
    partners = [*coordinate_functions(), *(x * y for x, y in combinations(coordinate_functions(), 2))]
    searched, null, refuted, candidates = 0, 0, 0, []
    for f in functions:
        searched += 1
        null_powers = list_null_powers(f, powers)
        if len(null_powers) < powers:
            continue
        null += 1
        partner = next((g for g in partners if any(power.integrate_with(g) for power in null_powers[-2:])), None)
        if partner is None:
            continue
        if list_moments(f, partner, powers=3 * powers).contradicts:
            candidates.append((f, partner))
        else:
            refuted += 1
    return SearchCount(searched, null, refuted, candidates)


def list_null_powers(f: MatrixFunction, count: int) -> list[MatrixFunction]:
    """Return the powers of a function, from the first on, up to the first that does not integrate to zero."""
    powers: list[MatrixFunction] = []
    power = f
    while len(powers) < count and not power.integrate():
        powers.append(power)
        power = power * f
    return powers


def list_sums(count: int, *, degree: int) -> Iterator[MatrixFunction]:
    """Iterate over sums of some monomials of at most a degree, with coefficients 1 and -1; the first is 1."""
    for choice in combinations(list_monomials(degree), count):
        for signs in product((1, -1), repeat=count - 1):
            yield MatrixFunction(dict(zip(choice, (1, *signs), strict=True)))


def list_products(degree: int) -> Iterator[MatrixFunction]:
    """Iterate over `(1 + m) (p + s q)` with an entry m, monomials p and q of at most a degree, and a sign s."""
    monomials = [MatrixFunction({powers: 1}) for powers in list_monomials(degree)]
    for entry, (first, second), sign in product(coordinate_functions(), combinations(monomials, 2), (1, -1)):
        yield (as_function(1) + entry) * (first + sign * second)


def list_monomials(degree: int) -> Sequence[Powers]:
    """Return the exponents of all monomials of at most a degree."""
    span = range(degree + 1)
    return [(r, s, t, u) for r, s, t, u in product(span, repeat=4) if r + s + t + u <= degree]
