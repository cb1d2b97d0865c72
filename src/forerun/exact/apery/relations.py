"""Integer relations between balls: found by lattice reduction, and excluded up to a height, with a proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isqrt, log2
from typing import Any

from forerun.exact.apery.precision import BITS_PER_DIGIT
from forerun.exact.exact_libraries import load_flint

MAX_VALUES = 24
MIN_BITS = 30
EXACT_BITS = 2000  # of balls without a radius


@dataclass(frozen=True)
class Relation:
    """An integer relation between real balls, or that there is none.

    Attributes:
        coefficients: `c` with `sum_i c_i x_i` about zero; None where no small one was found.
        residual: the ball of that sum; it contains zero. A small radius is evidence, and no proof of a relation.
        excluded_height: proven: no other relation has all coefficients of at most this size; where one was found, it is
            the height that its multiples alone are below.
    """

    coefficients: tuple[int, ...] | None
    residual: Any
    excluded_height: int

    @property
    def value(self) -> tuple[int, ...] | None:
        """The coefficients."""
        return self.coefficients

    @property
    def residual_bound(self) -> float:
        """How far the sum is from zero, at most."""
        return float(abs(self.residual).upper())


def exclude_relations(values: Sequence[Any]) -> int:
    """Return a height H so that `sum_i c_i x_i` is not zero for all integers `|c_i| <= H` that are not all zero.

    A relation of height H is a vector of length at most `H sqrt(n + n^2)` in the lattice spanned by `e_i` with
    `round(2^b x_i)`, and no vector is shorter than the shortest of the Gram-Schmidt vectors of a basis, here a reduced
    one, in rationals. Where there is a relation, H is below its coefficients: 0 says nothing.

    Args:
        values: real balls of python-flint, `n` of them; their radii bound what can be excluded.

    Raises:
        ValueError: there are too few or too many, or a ball is too wide.
        ImportError: python-flint is not installed.
    """
    reduced, _ = reduce_lattice(values)
    return height_below(shortest_square(reduced), len(values))


def find_relation(values: Sequence[Any], *, max_height: int = 10**6) -> Relation:
    """Find the smallest integer relation between real balls.

    Args:
        values: real balls of python-flint, `n` of them, of `n log10(max_height)` digits or more: with fewer, chance has
            relations of that height too.
        max_height: larger coefficients are not believed.

    Raises:
        ValueError: there are too few or too many, or they have too few digits for this height.
        ImportError: python-flint is not installed.
    """
    reduced, bits = reduce_lattice(values)
    needed = int(len(values) * log2(max_height)) + len(values)
    if bits < needed:
        raise ValueError(
            f"the values are known to {bits} bits, but {len(values)} of them with coefficients to {max_height} need "
            f"{needed}; evaluate them with digits={int(needed / BITS_PER_DIGIT) + 10}"
        )
    candidate = tuple(reduced[0][:-1])
    with load_flint().ctx.workprec(bits + 2 * max_height.bit_length()):
        residual = sum((c * value for c, value in zip(candidate, values, strict=True)), start=load_flint().arb(0))
    if max(map(abs, candidate)) > max_height or not residual.contains(0):
        return Relation(None, residual, height_below(shortest_square(reduced), len(values)))
    sign = next(1 if c > 0 else -1 for c in candidate if c)
    others = shortest_square(reduced[1:], above=reduced[:1])
    return Relation(tuple(sign * c for c in candidate), sign * residual, height_below(others, len(values)))


def reduce_lattice(values: Sequence[Any]) -> tuple[list[list[int]], int]:
    """Return a reduced basis of the lattice of relations, and the bits to which the values are known."""
    if not 2 <= len(values) <= MAX_VALUES:
        raise ValueError(f"got {len(values)} values; pass 2 to {MAX_VALUES} real balls, such as those of evaluate()")
    bits = min(map(count_certain_bits, values))
    if bits < MIN_BITS:
        raise ValueError(f"a value is known to {bits} bits only, too few to say anything; evaluate it with digits=80")
    rows = []
    for place, value in enumerate(values):
        row = [0] * len(values)
        row[place] = 1
        rows.append([*row, round_scaled(value, bits)])
    reduced = load_flint().fmpz_mat(rows).lll().tolist()
    return [[int(entry) for entry in row] for row in reduced], bits


def count_certain_bits(ball: Any) -> int:
    """Return to how many bits after the point a ball is known: its radius is at most a quarter of the last."""
    if not isinstance(ball, load_flint().arb) or not ball.is_finite():
        raise ValueError(
            f"values must be real balls of python-flint, which know their error, got {ball!r}; take .real of complex "
            "ones, and evaluate() of series rather than floats"
        )
    mantissa, exponent = ball.rad().man_exp()
    if not mantissa:
        return EXACT_BITS
    return min(-int(exponent) - int(mantissa).bit_length() - 2, EXACT_BITS)


def round_scaled(ball: Any, bits: int) -> int:
    """Return the integer nearest to the middle of a ball times `2^bits`."""
    mantissa, exponent = ball.mid().man_exp()
    shift = int(exponent) + bits
    if shift >= 0:
        return int(mantissa) << shift
    return (int(mantissa) + (1 << (-shift - 1))) >> -shift


def shortest_square(
    basis: Sequence[Sequence[int]],
    *,
    above: Sequence[Sequence[int]] = (),
) -> Fraction:
    """Return the smallest square of the Gram-Schmidt vectors of a basis, which comes after other vectors.

    They are quotients of Gram determinants, in integers.
    """
    flint = load_flint()
    vectors = [*above, *basis]
    last = flint.fmpz(1)
    squares = []
    for count in range(1, len(vectors) + 1):
        rows = flint.fmpz_mat([list(vector) for vector in vectors[:count]])
        determinant = (rows * rows.transpose()).det()
        squares.append(Fraction(int(determinant), int(last)))
        last = determinant
    return min(squares[len(above) :])


def height_below(square: Fraction, count: int) -> int:
    """Return the largest height whose relations would be vectors shorter than all of the lattice."""
    bound = count * (count + 1)
    return isqrt(max(ceil(square / bound) - 1, 0))
