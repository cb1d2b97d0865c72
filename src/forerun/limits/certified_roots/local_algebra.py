"""Local algebras of dimension up to four, and of any dimension along a curve: what a singular root looks like.

At a root of multiplicity d the coordinates are elements of an algebra with a basis 1, e_1, ... e_(d-1): a polynomial
system vanishes there exactly where it vanishes as an element of the algebra. The shapes are those of Hilbert functions
(1, 1, ..., 1), (1, 2), (1, 2, 1) and (1, 3); up to dimension four there are no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from forerun.limits.certified_roots.dual_space import DualSpace
from forerun.limits.certified_roots.polynomials import Exponents


@dataclass(frozen=True)
class LocalAlgebra:
    """A basis of monomials in the distances from the root, and what is unknown of their products.

    Attributes:
        basis: exponents of the monomials, 1 first.
        pivots: variables whose distances are themselves in the basis.
        squares: exponents of products of two pivots that are an unknown multiple of the last monomial, for (1, 2, 1).
        coordinates: complex128 `(n, d)`: the distances of the variables as elements, numerically.
        shares: complex128 `(S,)`: the unknown multiples, numerically.
    """

    basis: tuple[Exponents, ...]
    pivots: tuple[int, ...]
    squares: tuple[Exponents, ...]
    coordinates: Tensor
    shares: Tensor

    @property
    def dimension(self) -> int:
        """Dimension of the algebra, the multiplicity."""
        return len(self.basis)


class UnknownAlgebra(ValueError):
    """Raised for a dual space of a shape that has no parametrisation here."""


def choose_algebra(dual: DualSpace) -> LocalAlgebra:
    """Return the algebra of a dual space, in the basis in which its monomials are furthest from dependent.

    Raises:
        UnknownAlgebra: the multiplicity is five or more and the root does not lie on a smooth curve.
    """
    candidates = list_bases(dual)
    best = max(candidates, key=lambda basis: _measure_independence(dual, basis))
    variables = len(best[0])
    pivots = tuple(variable for variable in range(variables) if _unit(variables, variable) in best)
    table = torch.stack([dual.read_column(exponents) for exponents in best], 1)
    units = torch.stack([dual.read_column(_unit(variables, variable)) for variable in range(variables)], 1)
    coordinates: Tensor = torch.linalg.solve(table, units)
    squares: tuple[Exponents, ...] = ()
    shares = coordinates.new_zeros(0)
    if dual.hilbert_function == (1, 2, 1):
        products = _list_products(variables, pivots)
        squares = tuple(product for product in products if product != best[-1])
        columns = torch.stack([dual.read_column(product) for product in squares], 1)
        shares = torch.linalg.solve(table, columns)[-1]
    coordinates = coordinates.mT.clone()
    coordinates[:, 0] = 0
    return LocalAlgebra(best, pivots, squares, coordinates, shares)


def list_bases(dual: DualSpace) -> list[tuple[Exponents, ...]]:
    """Return the bases of monomials that the shape of a dual space allows."""
    shape, variables = dual.hilbert_function, len(dual.monomials[0])
    one = (0,) * variables
    units = [_unit(variables, variable) for variable in range(variables)]
    if set(shape) == {1}:
        return [tuple(_scale(unit, power) for power in range(len(shape))) for unit in units]
    if len(shape) == 2:
        return [(one, *choice) for choice in combinations(units, shape[1])]
    if shape == (1, 2, 1):
        bases: list[tuple[Exponents, ...]] = []
        for first, second in combinations(range(variables), 2):
            for product in _list_products(variables, (first, second)):
                bases.append((one, units[first], units[second], product))
        return bases
    raise UnknownAlgebra(
        f"the dual space has the shape {shape}, for which there is no parametrisation here; those up to multiplicity "
        "4, and any along a curve, (1, 1, ..., 1), have one"
    )


def _list_products(variables: int, pivots: Sequence[int]) -> list[Exponents]:
    """Return the products of two pivots."""
    units = [_unit(variables, pivot) for pivot in pivots]
    pairs = ((0, 0), (0, 1), (1, 1))
    return [
        tuple(
            map(
                sum,
                zip(
                    units[first],
                    units[second],
                    strict=True,
                ),
            )
        )
        for first, second in pairs
    ]


def _measure_independence(dual: DualSpace, basis: Sequence[Exponents]) -> float:
    """Return the smallest singular value of the functionals on a basis."""
    if any(exponents not in dual.monomials for exponents in basis):
        return -1.0
    table = torch.stack([dual.read_column(exponents) for exponents in basis], 1)
    return float(torch.linalg.svdvals(table)[-1])


def _unit(variables: int, variable: int) -> Exponents:
    return tuple(int(place == variable) for place in range(variables))


def _scale(exponents: Exponents, factor: int) -> Exponents:
    return tuple(factor * power for power in exponents)
