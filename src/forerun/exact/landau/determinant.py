"""LandauDeterminant: faces of the Newton polytope, the incidence variety of each, and its projection to kinematics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forerun.exact.exact_libraries import load_sympy
from forerun.exact.landau.euler import count_critical_points, drops_on_component
from forerun.exact.landau.graphs import FeynmanGraph
from forerun.exact.polytopes import LatticePoint, list_faces, spanning_places

MAX_FACE_DIMENSION = 3


@dataclass(frozen=True)
class LandauComponent:
    """A factor that elimination has given.

    Attributes:
        polynomial: irreducible, in masses and momenta.
        faces: of how many faces of the Newton polytope it comes.
        drops: whether the Euler characteristic drops where it vanishes; None where that was not tested.
    """

    polynomial: Any
    faces: int
    drops: bool | None


@dataclass(frozen=True)
class LandauDeterminant:
    """What elimination gives for a graph.

    Attributes:
        components: irreducible factors, the simplest first; exact.
        characteristic: the general absolute Euler characteristic.
        volume: of the Newton polytope; larger than the characteristic where some face is degenerate.
        dominant: faces whose incidence variety projects onto all of the kinematics, and gives no component here.
        skipped: faces that were left out as too large.
    """

    components: list[LandauComponent]
    characteristic: int
    volume: int
    dominant: int
    skipped: int

    @property
    def value(self) -> list[Any]:
        """The polynomials."""
        return [component.polynomial for component in self.components]


def find_determinant(
    graph: FeynmanGraph, *, max_dimension: int = MAX_FACE_DIMENSION, test_drops: bool = True
) -> LandauDeterminant:
    """Return the components of the principal Landau determinant of a graph, by elimination.

    For each face of the Newton polytope of `G = U + F`, the equations `G_face = 0` and `d G_face / d a = 0` in the
    torus are projected to masses and momenta by a Groebner basis (Fevola, Mizera and Telen, arXiv 2311.16219). Faces
    with a dense projection are counted; components that lie in the closure of such are not found here.

    Args:
        graph: with symbols for few masses and momenta: elimination grows fast with their number.
        max_dimension: faces above are skipped, and counted.
        test_drops: test each component by the Euler characteristic, at a random point over a prime field.

    Raises:
        ImportError: sympy, scipy or python-flint is not installed.
    """
    sympy = load_sympy()
    polynomial = sympy.Poly(graph.sum_polynomial(), *graph.parameters)
    exponents = [tuple(map(int, monomial)) for monomial in polynomial.monoms()]
    face_counts: dict[Any, int] = {}
    dominant, skipped = 0, 0
    for face, dimension in list_faces(exponents).items():
        if dimension > max_dimension:
            skipped += 1
            continue
        terms = {exponents[n]: polynomial.coeff_monomial(exponents[n]) for n in face}
        factors = project_face(graph, terms, dimension)
        dominant += factors is None
        for factor in factors or ():
            face_counts[factor] = face_counts.get(factor, 0) + 1
    count = count_critical_points(graph)
    components = []
    for factor in sorted(face_counts, key=lambda factor: (len(factor.args), sympy.total_degree(factor), str(factor))):
        drops = drops_on_component(graph, factor) if test_drops else None
        components.append(LandauComponent(factor, face_counts[factor], drops))
    return LandauDeterminant(components, count.characteristic, count.volume, dominant, skipped)


def project_face(
    graph: FeynmanGraph,
    terms: dict[LatticePoint, Any],
    dimension: int,
) -> list[Any] | None:
    """Return the irreducible factors of what a face projects to; None where it projects onto everything."""
    sympy = load_sympy()
    places = spanning_places(list(terms), dimension)
    unknowns = [graph.parameters[place] for place in places]
    face = sympy.Integer(0)
    for powers, coefficient in terms.items():
        face += coefficient * sympy.Mul(
            *(unknown ** powers[place] for unknown, place in zip(unknowns, places, strict=True))
        )
    face = sympy.expand(face)
    if dimension == 0:
        return split_factors([face])
    helper = sympy.Symbol("helper")
    equations = [face, *(sympy.diff(face, unknown) for unknown in unknowns), 1 - helper * sympy.Mul(*unknowns)]
    symbols = sorted(face.free_symbols - set(unknowns), key=str)
    if not symbols:
        return []
    basis = sympy.groebner(equations, helper, *unknowns, *symbols, order="lex")
    left = [expression for expression in basis.exprs if expression.free_symbols <= set(symbols)]
    if not left:
        return None
    return split_factors(left)


def split_factors(equations: Sequence[Any]) -> list[Any]:
    """Return the irreducible polynomials by which all equations are divided, without their signs."""
    sympy = load_sympy()
    common = sympy.Integer(0)
    for equation in equations:
        common = sympy.gcd(common, equation)
    factors = []
    for factor, _ in sympy.factor_list(common)[1]:
        if factor.free_symbols:
            factors.append(factor if sympy.Poly(factor).LC() > 0 else -factor)
    return factors
