"""The Euler characteristic of a hypersurface's complement in the torus, by counting critical points mod a prime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from forerun.exact.exact_libraries import load_sympy
from forerun.exact.landau.graphs import FeynmanGraph
from forerun.exact.polytopes import measure_volume

FIELD_PRIME = 32003
MAX_ATTEMPTS = 60


@dataclass(frozen=True)
class EulerCount:
    """The Euler characteristic beside the volume that bounds it.

    Attributes:
        characteristic: its absolute value, the number of critical points.
        volume: of the Newton polytope, `n!` times; equal for general coefficients.
    """

    characteristic: int
    volume: int

    @property
    def value(self) -> int:
        """The absolute Euler characteristic."""
        return self.characteristic


def count_critical_points(
    graph: FeynmanGraph, kinematics: Mapping[Any, int] | None = None, *, seed: int = 0
) -> EulerCount:
    """Return the absolute Euler characteristic of `G != 0` in the torus, at a point of the kinematics.

    It is the number of critical points of `prod a_i^{nu_i} G^mu` for general exponents (Huh), counted as the dimension
    of a quotient ring over a prime field of 32003 elements. Exponents and coordinates are drawn at random: the count is
    wrong for a share of draws of the order of the degree over the prime.

    Args:
        graph: whose polynomial G is meant.
        kinematics: integers for its masses and momenta; at random where left out.
        seed: of what is drawn.

    Raises:
        ArithmeticError: there are infinitely many critical points, for these exponents.
        ImportError: sympy, scipy or python-flint is not installed.
    """
    sympy, random = load_sympy(), Random(seed)
    values = {symbol: random.randrange(1, FIELD_PRIME) for symbol in graph.kinematics()} | dict(kinematics or {})
    polynomial = sympy.expand(graph.sum_polynomial().subs(values))
    unknowns = graph.parameters
    helper = sympy.Symbol("helper")
    mu = random.randrange(2, FIELD_PRIME - 1)
    equations = [1 - helper * polynomial * sympy.Mul(*unknowns)]
    for unknown in unknowns:
        nu = random.randrange(2, FIELD_PRIME - 1)
        equations.append(nu * polynomial + mu * unknown * sympy.diff(polynomial, unknown))
    equations = [sympy.expand(equation) for equation in equations]
    basis = sympy.groebner(equations, helper, *unknowns, order="grevlex", modulus=FIELD_PRIME)
    leading = [poly.monoms(order="grevlex")[0] for poly in basis.polys]
    exponents = sympy.Poly(polynomial, *unknowns, modulus=FIELD_PRIME).monoms()
    return EulerCount(count_standard_monomials(leading), measure_volume(exponents))


def count_standard_monomials(leading: Sequence[tuple[int, ...]]) -> int:
    """Return the number of monomials that no leading monomial of a Groebner basis divides."""
    size = len(leading[0])
    bounds = []
    for place in range(size):
        powers = [monomial[place] for monomial in leading if sum(monomial) == monomial[place]]
        if not powers:
            raise ArithmeticError("there are infinitely many critical points; pass another seed=")
        bounds.append(min(powers))
    count = 0
    for candidate in product(*map(range, bounds)):
        divided = (all(a >= b for a, b in zip(candidate, monomial, strict=True)) for monomial in leading)
        count += not any(divided)
    return count


def drops_on_component(graph: FeynmanGraph, component: Any, *, seed: int = 0) -> bool:
    """Return whether the Euler characteristic at a random point where a polynomial vanishes is below the general one.

    That is the test of whether it belongs to the principal Landau determinant (Fevola, Mizera and Telen).

    Args:
        graph: whose kinematics are meant.
        component: a polynomial in its masses and momenta.
        seed: of the point.

    Raises:
        ValueError: the polynomial has other symbols, or no point over the prime field was found.
    """
    point = find_point(graph, component, seed)
    general = count_critical_points(graph, seed=seed)
    return count_critical_points(graph, point, seed=seed).value < general.value


def find_point(graph: FeynmanGraph, component: Any, seed: int) -> dict[Any, int]:
    """Return a random point over the prime field where a polynomial vanishes, and no other coordinate does."""
    sympy, random, symbols = load_sympy(), Random(seed), graph.kinematics()
    unknown_symbols = component.free_symbols - set(symbols)
    if unknown_symbols or not component.free_symbols:
        raise ValueError(
            f"{component} must be a polynomial in {symbols}; pass one of find_determinant(graph).components"
        )
    solved = sorted(component.free_symbols, key=str)[-1]
    for _ in range(MAX_ATTEMPTS):
        point = {symbol: random.randrange(1, FIELD_PRIME) for symbol in symbols if symbol != solved}
        line = sympy.Poly(component.subs(point), solved, modulus=FIELD_PRIME)
        for factor, _multiplicity in line.factor_list()[1]:
            if factor.degree() == 1:
                slope, offset = (int(coefficient) for coefficient in factor.all_coeffs())
                return point | {solved: -offset * pow(slope, -1, FIELD_PRIME) % FIELD_PRIME}
    raise ValueError(f"no point with {component} = 0 was found over the field of {FIELD_PRIME}; pass another seed=")
