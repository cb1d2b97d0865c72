"""Polynomials whose coefficients are complex balls: exact in what they enclose, whatever is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Exponents = tuple[int, ...]
BallPolynomial = Mapping[Exponents, Any]  # coefficients are flint's acb
PRECISION_BITS = 192


def import_flint() -> Any:
    """Return the module flint, its precision set.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import flint
    except ImportError as error:
        raise ImportError("roots are certified in the balls of python-flint: pip install 'forerun[exact]'") from error
    return flint


def add_polynomials(first: BallPolynomial, second: BallPolynomial) -> BallPolynomial:
    """Return the sum of two polynomials."""
    total = dict(first)
    for exponents, coefficient in second.items():
        total[exponents] = total[exponents] + coefficient if exponents in total else coefficient
    return total


def multiply_polynomials(first: BallPolynomial, second: BallPolynomial) -> BallPolynomial:
    """Return the product of two polynomials."""
    product: dict[Exponents, Any] = {}
    for left, left_coefficient in first.items():
        for right, right_coefficient in second.items():
            exponents = tuple(map(sum, zip(left, right, strict=True)))
            term = left_coefficient * right_coefficient
            product[exponents] = product[exponents] + term if exponents in product else term
    return product


@dataclass(frozen=True)
class PolynomialSystem:
    """Polynomials in common variables.

    Attributes:
        polynomials: `N` of them.
        variables: their number, `n`.
    """

    polynomials: tuple[BallPolynomial, ...]
    variables: int

    @classmethod
    def from_user(cls, system: Sequence[Any] | Callable[..., Any], variables: int) -> PolynomialSystem:
        """Return the system of sympy's expressions, or of a function of numbers that adds and multiplies.

        Expressions have their symbols in the order of their names.

        Raises:
            ValueError: it is not polynomial, or its coefficients are not rational.
            ImportError: sympy or flint is not installed.
        """
        try:
            import sympy
        except ImportError as error:
            raise ImportError("polynomials are read by sympy: pip install 'forerun[exact]'") from error
        if callable(system):
            symbols = sympy.symbols(f"x:{variables}")
            expressions = list(system(*symbols))
        else:
            expressions = [sympy.sympify(entry) for entry in system]
            free_symbols = set().union(*(expression.free_symbols for expression in expressions))
            symbols = tuple(sorted(free_symbols, key=str))
        if len(symbols) != variables or len(expressions) < variables:
            raise ValueError(
                f"got {len(expressions)} equations in {len(symbols)} variables and a guess of {variables} numbers; "
                "pass one number for each variable, and as many equations or more"
            )
        return cls(tuple(_read_polynomial(expression, symbols) for expression in expressions), variables)

    @cached_property
    def terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients complex128 `(T,)`, exponents int64 `(T, n)` and the polynomial `(T,)` of every term."""
        coefficients, exponents, rows = [], [], []
        for row, polynomial in enumerate(self.polynomials):
            for powers, coefficient in polynomial.items():
                coefficients.append(complex(coefficient))
                exponents.append(powers)
                rows.append(row)
        return torch.tensor(coefficients, dtype=torch.complex128), torch.tensor(exponents), torch.tensor(rows)

    def evaluate_values(self, point: Tensor) -> Tensor:
        """Return the values `(N,)` at a point complex128 `(n,)`."""
        return self._sum_terms(point, *self.terms[:2])

    def evaluate_jacobian(self, point: Tensor) -> Tensor:
        """Return the derivatives `(N, n)` at a point."""
        coefficients, exponents, _ = self.terms
        columns = []
        for variable in range(self.variables):
            powers = exponents[:, variable]
            lowered = exponents.clone()
            lowered[:, variable] = (powers - 1).clamp_min(0)
            columns.append(
                self._sum_terms(
                    point,
                    coefficients * powers,
                    lowered,
                )
            )
        return torch.stack(columns, 1)

    def expand_around(self, point: Sequence[Any]) -> list[BallPolynomial]:
        """Return the Taylor polynomials `f(point + h)` in `h`, at a point of balls."""
        return [_shift_polynomial(polynomial, point) for polynomial in self.polynomials]

    def _sum_terms(
        self,
        point: Tensor,
        coefficients: Tensor,
        exponents: Tensor,
    ) -> Tensor:
        degree = int(exponents.max()) if exponents.numel() else 0
        powers = torch.stack([point**0, *[point] * degree]).cumprod(0)
        monomials = powers.gather(0, exponents).prod(1)
        return point.new_zeros(len(self.polynomials)).index_add(
            0,
            self.terms[2],
            coefficients * monomials,
        )


def _read_polynomial(expression: Any, symbols: Sequence[Any]) -> BallPolynomial:
    """Return a polynomial of sympy's in balls."""
    import sympy

    try:
        polynomial = sympy.Poly(sympy.nsimplify(expression, rational=True), *symbols)
    except sympy.PolynomialError as error:
        raise ValueError(
            f"{expression} is not a polynomial in {', '.join(map(str, symbols))}, so that no bound of all its "
            "derivatives is at hand; take a Taylor polynomial, or put what is not polynomial in a new variable"
        ) from error
    terms = {}
    for exponents, coefficient in polynomial.terms():
        real, imaginary = coefficient.as_real_imag()
        if not (real.is_Rational and imaginary.is_Rational):
            raise ValueError(f"the coefficient {coefficient} is not rational; make it a variable: s, with s**2 - 2 = 0")
        terms[exponents] = make_ball(real, imaginary)
    return terms


def make_ball(real: Any, imaginary: Any = 0) -> Any:
    """Return the ball of a complex number with rational parts, sympy's or Python's."""
    flint = import_flint()
    parts = [flint.arb(flint.fmpq(int(part.numerator), int(part.denominator))) for part in (real, imaginary)]
    return flint.acb(*parts)


def _shift_polynomial(polynomial: BallPolynomial, point: Sequence[Any]) -> BallPolynomial:
    """Return a polynomial around a point, by Horner's scheme in one variable after another."""
    for variable, place in enumerate(point):
        degree = max((exponents[variable] for exponents in polynomial), default=0)
        shifted: BallPolynomial = {}
        for power in range(degree, -1, -1):
            raised = {_raise_power(exponents, variable): value for exponents, value in shifted.items()}
            scaled = {exponents: value * place for exponents, value in shifted.items()}
            layer = {
                (*exponents[:variable], 0, *exponents[variable + 1 :]): value
                for exponents, value in polynomial.items()
                if exponents[variable] == power
            }
            shifted = add_polynomials(add_polynomials(raised, scaled), layer)
        polynomial = shifted
    return polynomial


def _raise_power(exponents: Exponents, variable: int) -> Exponents:
    return (*exponents[:variable], exponents[variable] + 1, *exponents[variable + 1 :])
