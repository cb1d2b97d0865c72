"""ClassicalGroup: Sp(2n), SO(N) or O(2n), by what their characters need: rank, half sum of roots, and a sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

MAX_RANK = 40
MAX_ALTERNANT_RANK = 6  # an alternant has 2^n n! terms
Weight = tuple[Fraction, ...]
WholeOrHalf = int | Fraction


@dataclass(frozen=True)
class ClassicalGroup:
    """A classical group, as far as its characters on the connected component see it.

    Its characters are quotients of alternants, `ch_a = A(a + rho) / A(rho)`, with

        A(b) = det [ x_i^{b_j} + sign x_i^{-b_j} ],        and a single 1 where `b_j = 0`

    For O(2n) the character of `(a_1, ..., a_n)` with `a_n > 0` is the sum of the two of SO(2n) with `a_n` and `-a_n`,
    whose alternants have the terms of an even number of inverses alone.

    Attributes:
        name: such as "Sp(4)".
        rank: number of variables, n.
        sign: of a variable's inverse in the alternants: -1 for Sp(2n) and SO(2n+1), 1 for O(2n).
        last_root: the last entry of rho: 1, 1/2 or 0.
        splits: whether it is SO(2n), whose weights may end below zero.
    """

    name: str
    rank: int
    sign: int
    last_root: Fraction
    splits: bool = False

    @property
    def rho(self) -> Weight:
        """Half the sum of the positive roots, `(n - 1 + r, ..., 1 + r, r)`."""
        return tuple(self.last_root + place for place in reversed(range(self.rank)))

    def check_weight(self, weight: Sequence[int | Fraction]) -> Weight:
        """Return a dominant weight in rationals.

        Raises:
            ValueError: it is not a highest weight of this group.
        """
        entries = tuple(Fraction(entry) for entry in weight)
        if len(entries) != self.rank:
            raise ValueError(f"{self.name} has rank {self.rank}, but the weight {show_weight(entries)} has "
                             f"{len(entries)} entries; pass {self.rank}, with zeros at the end")  # fmt: skip
        if not self.is_dominant(entries):
            raise ValueError(f"the weight {show_weight(entries)} of {self.name} must fall and end at 0 or above; pass "
                             f"{show_weight(sorted(map(abs, entries), reverse=True))}")  # fmt: skip
        denominators = {entry.denominator for entry in entries}
        if denominators == {1} or (denominators == {2} and self.has_spin):
            return entries
        advice = ", or all be halves of odd numbers, such as (3/2, 1/2)" if self.has_spin else ""
        raise ValueError(
            f"the weight {show_weight(entries)} is not one of {self.name}: entries must all be whole{advice}"
        )

    def is_dominant(self, entries: Weight) -> bool:
        """Return whether entries fall and do not end below zero; for SO(2n) the sign of the last does not count."""
        sizes = (*entries[:-1], abs(entries[-1])) if self.splits else entries
        return sizes[-1] >= 0 and all(first >= second for first, second in pairwise(sizes))

    @property
    def has_spin(self) -> bool:
        """Whether there are spin characters, of half-integral weights."""
        return self.last_root != 1


def symplectic_group(size: int) -> ClassicalGroup:
    """Return Sp(2n) by the size of its matrices, 2n.

    Raises:
        ValueError: the size is odd or out of range.
    """
    rank = _check_size("symplectic_group", size)
    if size % 2:
        raise ValueError(f"there is no Sp({size}): write symplectic_group({size + 1}), of rank {rank + 1}")
    return ClassicalGroup(f"Sp({size})", rank, -1, Fraction(1))


def orthogonal_group(size: int) -> ClassicalGroup:
    """Return SO(2n+1) or O(2n) by the size of its matrices.

    Raises:
        ValueError: the size is out of range.
    """
    rank = _check_size("orthogonal_group", size)
    if size % 2:
        return ClassicalGroup(f"SO({size})", rank, -1, Fraction(1, 2))
    return ClassicalGroup(f"O({size})", rank, 1, Fraction(0))


def special_orthogonal_group(size: int) -> ClassicalGroup:
    """Return SO(N) by the size of its matrices; for odd sizes it is `orthogonal_group(size)`.

    Raises:
        ValueError: the size is out of range.
    """
    rank = _check_size("special_orthogonal_group", size)
    if size % 2:
        return orthogonal_group(size)
    return ClassicalGroup(f"SO({size})", rank, 1, Fraction(0), splits=True)


def list_groups(size: int) -> list[ClassicalGroup]:
    """Return the groups of matrices of a size: SO(N) for odd sizes, and O(N), SO(N) and Sp(N) for even ones."""
    if size % 2:
        return [orthogonal_group(size)]
    return [orthogonal_group(size), special_orthogonal_group(size), symplectic_group(size)]


def _check_size(function: str, size: int) -> int:
    """Return the rank of a group of matrices of a size."""
    if not isinstance(size, int) or isinstance(size, bool) or not 2 <= size <= 2 * MAX_RANK + 1:
        raise ValueError(
            f"{function}({size!r}) must be given the size of the matrices, from 2 to {2 * MAX_RANK + 1}; write "
            f"{function}(6) for rank 3"
        )
    return size // 2


def show_weight(weight: Sequence[int | Fraction]) -> str:
    """Return a weight as one writes it: `(3/2, 1/2)`."""
    return "(" + ", ".join(map(str, weight)) + ")"
