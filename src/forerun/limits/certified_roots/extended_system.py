"""ExtendedSystem: a regular square system whose root is a singular root, its structure, and a deformation.

The unknowns are the root, the coordinates as elements of a local algebra, and deformations: numbers times monomials
that are added to some equations so that the deformed system has an exact root of that multiplicity (Mantzaflaris,
Mourrain and Szanto, arXiv 2002.05991). Newton's iteration on it converges quadratically, where on the equations alone
it halves the error at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.limits.certified_roots.local_algebra import LocalAlgebra
from forerun.limits.certified_roots.polynomials import (
    BallPolynomial,
    Exponents,
    PolynomialSystem,
    add_polynomials,
    make_ball,
    multiply_polynomials,
)

Element = list[BallPolynomial]  # coefficients in the basis of an algebra


@dataclass(frozen=True)
class ExtendedSystem:
    """The square system and where it begins.

    Attributes:
        system: in all unknowns.
        start: complex128 `(m,)`.
        variables: of the unknowns, those that are the root.
        deformations: the equation and the monomial of every deformation, the last unknowns.
    """

    system: PolynomialSystem
    start: Tensor
    variables: int
    deformations: tuple[tuple[int, Exponents], ...]


def extend_system(
    system: PolynomialSystem,
    point: Tensor,
    algebra: LocalAlgebra,
) -> ExtendedSystem:
    """Return the extended system of a root with a local algebra.

    Deformations go where the equations of the structure are dependent, one for each equation too many.
    """
    unknowns = _UnknownList(system, algebra)
    rows: list[BallPolynomial] = []
    for polynomial in system.polynomials:
        rows.extend(unknowns.evaluate_element(polynomial))
    start = torch.cat([point, unknowns.start])
    count = len(start)
    narrow = PolynomialSystem(tuple(rows), count)
    places = _choose_rows(narrow.evaluate_jacobian(start), len(rows) - count)
    total = len(rows)
    widened = [_widen(row, total) for row in rows]
    one = make_ball(1)
    for offset, row in enumerate(places):
        unit = _unit_power(total, count + offset)
        widened[row] = add_polynomials(widened[row], {unit: one})
    dimension = algebra.dimension
    deformations = tuple((row // dimension, algebra.basis[row % dimension]) for row in places)
    start = torch.cat([start, start.new_zeros(len(places))])
    return ExtendedSystem(
        PolynomialSystem(tuple(widened), total),
        start,
        system.variables,
        deformations,
    )


class _UnknownList:
    """The unknowns before deformations: root, coordinates, and products of the algebra."""

    def __init__(self, system: PolynomialSystem, algebra: LocalAlgebra) -> None:
        self.algebra = algebra
        variables, dimension = system.variables, algebra.dimension
        free = [variable for variable in range(variables) if variable not in algebra.pivots]
        self.count = variables + len(free) * (dimension - 1) + len(algebra.squares)
        self.start = torch.cat([algebra.coordinates[free, 1:].flatten(), algebra.shares])
        self.coordinates: list[Element] = []
        for variable in range(variables):
            element: Element = [{} for _ in range(dimension)]
            element[0] = self._take_unknown(variable)
            if variable in algebra.pivots:
                element[1 + algebra.pivots.index(variable)] = self._make_constant()
            else:
                first = variables + free.index(variable) * (dimension - 1)
                for place in range(1, dimension):
                    element[place] = self._take_unknown(first + place - 1)
            self.coordinates.append(element)
        self.products = self._list_products()

    def evaluate_element(self, polynomial: BallPolynomial) -> Element:
        """Return a polynomial of the user's as an element of the algebra, in all unknowns."""
        total: Element = [{} for _ in range(self.algebra.dimension)]
        zero = (0,) * self.count
        for exponents, coefficient in polynomial.items():
            term: Element = [{} for _ in range(self.algebra.dimension)]
            term[0] = {zero: coefficient}
            for variable, power in enumerate(exponents):
                for _ in range(power):
                    term = self._multiply_elements(term, self.coordinates[variable])
            total = [
                add_polynomials(left, right)
                for left, right in zip(
                    total,
                    term,
                    strict=True,
                )
            ]
        return total

    def _multiply_elements(self, first: Element, second: Element) -> Element:
        product: Element = [{} for _ in range(self.algebra.dimension)]
        for left, left_part in enumerate(first):
            for right, right_part in enumerate(second):
                if not left_part or not right_part:
                    continue
                part = multiply_polynomials(left_part, right_part)
                for place, factor in self.products.get((min(left, right), max(left, right)), ()):
                    product[place] = add_polynomials(product[place], multiply_polynomials(part, factor))
        return product

    def _list_products(self) -> dict[tuple[int, int], list[tuple[int, BallPolynomial]]]:
        """Return the products of two monomials of the basis: places and factors."""
        basis, one = self.algebra.basis, self._make_constant()
        products: dict[tuple[int, int], list[tuple[int, BallPolynomial]]] = {}
        first_share = self.count - len(self.algebra.squares)
        for left in range(len(basis)):
            for right in range(left, len(basis)):
                exponents = tuple(
                    map(
                        sum,
                        zip(
                            basis[left],
                            basis[right],
                            strict=True,
                        ),
                    )
                )
                if exponents in basis:
                    products[left, right] = [(basis.index(exponents), one)]
                elif exponents in self.algebra.squares:
                    share = self._take_unknown(first_share + self.algebra.squares.index(exponents))
                    products[left, right] = [(len(basis) - 1, share)]
        return products

    def _take_unknown(self, place: int) -> BallPolynomial:
        return {_unit_power(self.count, place): make_ball(1)}

    def _make_constant(self) -> BallPolynomial:
        return {(0,) * self.count: make_ball(1)}


def _choose_rows(jacobian: Tensor, count: int) -> list[int]:
    """Return the rows whose unit vectors complete the columns of a matrix best, one after another."""
    directions, _ = torch.linalg.qr(jacobian)
    rows: list[int] = []
    for _ in range(count):
        eye = torch.eye(len(jacobian), dtype=jacobian.dtype)
        remainders = eye - directions @ directions.mH
        row = int(torch.linalg.vector_norm(remainders, dim=0).argmax())
        column = remainders[:, row] / torch.linalg.vector_norm(remainders[:, row])
        directions = torch.cat([directions, column.unsqueeze(1)], 1)
        rows.append(row)
    return rows


def _widen(polynomial: BallPolynomial, variables: int) -> BallPolynomial:
    """Return a polynomial in more variables, on which it does not depend."""
    return {(*exponents, *[0] * (variables - len(exponents))): value for exponents, value in polynomial.items()}


def _unit_power(variables: int, place: int) -> Exponents:
    return tuple(int(index == place) for index in range(variables))


def list_exponents(polynomials: Sequence[BallPolynomial]) -> list[Any]:
    """Return the exponents that occur in polynomials, each once."""
    exponents: dict[Exponents, None] = {}
    for polynomial in polynomials:
        exponents.update(dict.fromkeys(polynomial))
    return list(exponents)
