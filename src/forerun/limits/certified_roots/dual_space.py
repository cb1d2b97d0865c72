"""The dual space of a root: the derivatives at it that vanish on all multiples of the equations (Macaulay).

Its dimension is the multiplicity. Functionals are `sum_a c_a d^a / a!`, rows of coefficients over monomials.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from forerun.limits.certified_roots.polynomials import BallPolynomial, Exponents, PolynomialSystem, make_ball

MAX_ORDER = 5
LOOSE_NULL_SHARE = 0.1  # the same, where the multiplicity is known and the guess may be rough
NULL_SHARE = 1e-2  # a singular value below counts as zero; coefficients are 1 at most


@dataclass(frozen=True)
class DualSpace:
    """Functionals at a root.

    Attributes:
        monomials: exponents, the columns.
        basis: complex128 `(multiplicity, columns)`, orthonormal.
        nullities: the dimensions for derivatives of order 0, 1, 2, ...
        gap: the largest singular value that counted as zero over the smallest that did not.
    """

    monomials: tuple[Exponents, ...]
    basis: Tensor
    nullities: tuple[int, ...]
    gap: float

    @property
    def multiplicity(self) -> int:
        """The dimension."""
        return len(self.basis)

    @property
    def hilbert_function(self) -> tuple[int, ...]:
        """The dimensions of every order: (1, 1, 1) along a curve, (1, 2, 1) where two directions meet."""
        steps = [1]
        for before, after in zip(
            self.nullities,
            self.nullities[1:],
            strict=False,
        ):
            steps.append(after - before)
        return tuple(step for step in steps if step)

    def read_column(self, exponents: Exponents) -> Tensor:
        """Return what the functionals give for a monomial, `(multiplicity,)`."""
        return self.basis[:, self.monomials.index(exponents)]


class NoIsolatedRoot(ValueError):
    """Raised where a dual space has no dimension that can be certified: it goes on growing, or is smaller."""


def find_dual_space(
    system: PolynomialSystem,
    point: Tensor,
    multiplicity: int | None,
) -> DualSpace:
    """Return the dual space at a point close to a root, numerically.

    Args:
        system: the equations.
        point: complex128 `(n,)`.
        multiplicity: the dimension that is asked for; None to find it from singular values.

    Raises:
        NoIsolatedRoot: the dimension is still growing at order 5.
    """
    center = [make_ball_of(number) for number in point.tolist()]
    taylor = [_scale_polynomial(polynomial) for polynomial in system.expand_around(center)]
    share = NULL_SHARE if multiplicity is None else LOOSE_NULL_SHARE
    nullities = [1]
    for order in range(1, MAX_ORDER + 1):
        monomials = list_monomials(system.variables, order)
        # the value at the point itself is always among the functionals: its column, the first, is left out
        matrix = _fill_macaulay(taylor, monomials, order)[:, 1:]
        _, values, right = torch.linalg.svd(matrix, full_matrices=True)
        heights = torch.cat([values, values.new_zeros(matrix.shape[1] - len(values))])
        count = 1 + int((heights <= share).sum())
        if multiplicity is not None:
            count = min(count, multiplicity)
        nullities.append(count)
        if multiplicity is not None and count == nullities[-2] < multiplicity:
            raise NoIsolatedRoot(
                f"the dual space ends at the dimension {count}, so that no root of multiplicity {multiplicity} is "
                f"near; leave multiplicity={multiplicity} out"
            )
        if nullities[-1] == nullities[-2]:
            basis = torch.block_diag(torch.ones(1, 1), right[len(right) - count + 1 :].conj())
            around = torch.nn.functional.pad(heights, (0, 1))[len(heights) - count :]
            return DualSpace(monomials, basis, tuple(nullities), float(around[1] / around[0]))
    raise NoIsolatedRoot(
        f"the dual space has the dimensions {nullities} for derivatives of order 0 to {MAX_ORDER} and goes on growing: "
        "the root is not isolated, or its multiplicity is larger than what can be certified; pass multiplicity=... "
        "where it is known, or a guess closer to the root"
    )


def list_monomials(variables: int, order: int) -> tuple[Exponents, ...]:
    """Return the exponents of all monomials up to an order, lower orders first."""
    monomials = []
    for degree in range(order + 1):
        for choice in combinations_with_replacement(range(variables), degree):
            monomials.append(tuple(choice.count(variable) for variable in range(variables)))
    return tuple(monomials)


def make_ball_of(number: complex) -> object:
    """Return the ball of a complex floating-point number, exactly."""
    from fractions import Fraction

    return make_ball(Fraction(number.real), Fraction(number.imag))


def _scale_polynomial(polynomial: BallPolynomial) -> dict[Exponents, complex]:
    """Return a polynomial whose largest coefficient is 1, numerically."""
    numbers = {exponents: complex(value) for exponents, value in polynomial.items()}
    largest = max(map(abs, numbers.values()), default=0.0) or 1.0
    return {exponents: number / largest for exponents, number in numbers.items()}


def _fill_macaulay(
    taylor: list[dict[Exponents, complex]],
    monomials: tuple[Exponents, ...],
    order: int,
) -> Tensor:
    """Return the matrix whose rows are the multiples of the equations, over monomials."""
    columns = {exponents: column for column, exponents in enumerate(monomials)}
    rows = []
    for factor in list_monomials(len(monomials[0]), order - 1):
        for polynomial in taylor:
            row = torch.zeros(len(monomials), dtype=torch.complex128)
            for exponents, coefficient in polynomial.items():
                product = tuple(
                    map(
                        sum,
                        zip(
                            exponents,
                            factor,
                            strict=True,
                        ),
                    )
                )
                if product in columns:
                    row[columns[product]] = torch.tensor(coefficient)
            rows.append(row)
    return torch.stack(rows)
