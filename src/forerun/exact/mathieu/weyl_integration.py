"""Weyl's integration formula: integrals of class functions over SU(2), SU(3) and Sp(2), as constant terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

TorusTerms = Mapping[tuple[int, ...], int]  # a Laurent polynomial on the torus: coefficients by exponents


@dataclass(frozen=True)
class CompactGroup:
    """A compact group, as class functions see it.

    Attributes:
        name: such as "SU(3)".
        roots: the positive roots, in exponents of the torus.
        weyl_order: the number of elements of the Weyl group.
        trace: the character of the smallest representation.
    """

    name: str
    roots: tuple[tuple[int, ...], ...]
    weyl_order: int
    trace: TorusTerms


def su_two() -> CompactGroup:
    """Return SU(2), with the torus of `diag(x, 1/x)`."""
    return CompactGroup("SU(2)", ((2,),), 2, {(1,): 1, (-1,): 1})


def su_three() -> CompactGroup:
    """Return SU(3), with the torus of `diag(x, y, 1/(xy))`."""
    return CompactGroup("SU(3)", ((1, -1), (2, 1), (1, 2)), 6, {(1, 0): 1, (0, 1): 1, (-1, -1): 1})


def sp_two() -> CompactGroup:
    """Return the compact Sp(2), of 4 by 4 matrices, with the torus of `diag(x, y, 1/x, 1/y)`."""
    trace: TorusTerms = {(1, 0): 1, (-1, 0): 1, (0, 1): 1, (0, -1): 1}
    return CompactGroup("Sp(2)", ((2, 0), (0, 2), (1, 1), (1, -1)), 8, trace)


def integrate_class_function(group: CompactGroup, terms: TorusTerms) -> Fraction:
    """Return the integral of a class function over a group of volume 1.

        int f = constant term of  f(x) prod_{roots} (1 - x^root) (1 - x^-root)  / |W|

    Args:
        group: such as `su_three()`.
        terms: the function on the torus; it need not be symmetric, since its mean over the Weyl group is integrated.

    Raises:
        ValueError: a term has exponents for another torus.
    """
    check_torus(group, terms)
    density = weyl_density(group)
    total = sum(count * density.get(tuple(-power for power in powers), 0) for powers, count in terms.items())
    return Fraction(total, group.weyl_order)


def list_trace_moments(
    group: CompactGroup,
    terms: TorusTerms | None = None,
    *,
    powers: int = 10,
) -> list[Fraction]:
    """Return the integrals of `f^0 .. f^powers`, for the trace or for another class function."""
    function = group.trace if terms is None else terms
    check_torus(group, function)
    power: TorusTerms = {(0,) * len(group.roots[0]): 1}
    moments = [integrate_class_function(group, power)]
    for _ in range(powers):
        power = multiply_on_torus(power, function)
        moments.append(integrate_class_function(group, power))
    return moments


def weyl_density(group: CompactGroup) -> TorusTerms:
    """Return the product of `(1 - x^root) (1 - x^-root)` over the positive roots."""
    rank = len(group.roots[0])
    density: TorusTerms = {(0,) * rank: 1}
    for root in group.roots:
        for sign in (1, -1):
            factor = {(0,) * rank: 1, tuple(sign * power for power in root): -1}
            density = multiply_on_torus(density, factor)
    return density


def multiply_on_torus(first: TorusTerms, second: TorusTerms) -> TorusTerms:
    """Return the product of two Laurent polynomials."""
    total: dict[tuple[int, ...], int] = {}
    for powers, coefficient in first.items():
        for others, count in second.items():
            added = tuple(one + other for one, other in zip(powers, others, strict=True))
            total[added] = total.get(added, 0) + coefficient * count
    return {powers: count for powers, count in total.items() if count}


def check_torus(group: CompactGroup, terms: TorusTerms) -> None:
    """Refuse terms whose exponents are not those of the torus of a group."""
    rank = len(group.roots[0])
    for powers in terms:
        if len(powers) != rank:
            raise ValueError(f"{group.name} has a torus of rank {rank}, but a term has exponents {powers}; pass {rank}")
