"""Smale's alpha test in ball arithmetic: a proof that Newton's iteration converges from a point (Blum et al., ch. 8).

    beta = |DF^-1 F|,    gamma = max_k |DF^-1 D^k F / k!|^(1 / (k - 1)),    alpha = beta gamma

in the largest element, where the norm of a derivative is at most the sum of the absolute values of its coefficients.
Below (13 - 3 sqrt 17) / 4 there is a root within 2 beta, and Newton's iteration doubles its digits from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from forerun.engine.certificates.alpha_test import ALPHA_THRESHOLD
from forerun.limits.certified_roots.dual_space import make_ball_of
from forerun.limits.certified_roots.extended_system import list_exponents
from forerun.limits.certified_roots.polynomials import (
    PRECISION_BITS,
    BallPolynomial,
    Exponents,
    PolynomialSystem,
    import_flint,
)

ROUNDED_UP = 1 + 2.0**-50


@dataclass(frozen=True)
class AlphaBalls:
    """Upper bounds of alpha, beta and gamma; inf where the derivative could not be shown to be invertible."""

    alpha: float
    beta: float
    gamma: float

    @property
    def holds(self) -> bool:
        """Whether a root is proven within `2 beta`."""
        return self.alpha < ALPHA_THRESHOLD


def measure_alpha(system: PolynomialSystem, point: Tensor) -> AlphaBalls:
    """Return bounds that hold, rounding included, for a square system at a point of floating-point numbers."""
    flint = import_flint()
    infinite = float("inf")
    with flint.ctx.workprec(PRECISION_BITS):
        taylor = system.expand_around([make_ball_of(number) for number in point.tolist()])
        size = system.variables
        units = [tuple(int(place == variable) for place in range(size)) for variable in range(size)]
        jacobian = flint.acb_mat([[row.get(unit, flint.acb(0)) for unit in units] for row in taylor])
        try:
            inverse = jacobian.inv()
        except ZeroDivisionError:
            return AlphaBalls(infinite, infinite, infinite)
        beta = max(_bound_column(inverse, taylor, (0,) * size))
        gamma = 0.0
        for order, largest in _sum_orders(inverse, taylor).items():
            gamma = max(gamma, largest ** (1 / (order - 1)) * ROUNDED_UP)
    return AlphaBalls(beta * gamma * ROUNDED_UP, beta, gamma)


def _sum_orders(inverse: Any, taylor: Sequence[BallPolynomial]) -> dict[int, float]:
    """Return the norms of the derivatives of every order from 2 on, over factorials, times the inverse."""
    sums: dict[int, list[float]] = {}
    for exponents in list_exponents(taylor):
        order = sum(exponents)
        if order < 2:
            continue
        totals = sums.setdefault(order, [0.0] * len(taylor))
        for row, size in enumerate(
            _bound_column(
                inverse,
                taylor,
                exponents,
            )
        ):
            totals[row] = (totals[row] + size) * ROUNDED_UP
    return {order: max(totals) for order, totals in sums.items()}


def _bound_column(
    inverse: Any,
    taylor: Sequence[BallPolynomial],
    exponents: Exponents,
) -> list[float]:
    """Return numbers above the absolute values of the inverse times the coefficients of a monomial."""
    flint = import_flint()
    column = flint.acb_mat([[polynomial.get(exponents, flint.acb(0))] for polynomial in taylor])
    product = inverse * column
    return [float(abs(product[row, 0]).upper()) * ROUNDED_UP for row in range(len(taylor))]
