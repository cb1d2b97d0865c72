"""Configuration: which subshells of an atom hold how many electrons; those of the published tables to uranium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SUBSHELL_LETTERS = "spdf"
NOBLE_CORES = {"He": 2, "Ne": 10, "Ar": 18, "Kr": 36, "Xe": 54, "Rn": 86}
SUBSHELL_ORDER = "1s 2s 2p 3s 3p 4s 3d 4p 5s 4d 5p 6s 4f 5d 6p 7s 5f 6d"
# Where subshells do not fill one after another (NIST, Atomic Reference Data for Electronic Structure Calculations).
IRREGULAR_ATOMS = {
    24: "[Ar] 3d5 4s1",
    29: "[Ar] 3d10 4s1",
    41: "[Kr] 4d4 5s1",
    42: "[Kr] 4d5 5s1",
    44: "[Kr] 4d7 5s1",
    45: "[Kr] 4d8 5s1",
    46: "[Kr] 4d10",
    47: "[Kr] 4d10 5s1",
    57: "[Xe] 5d1 6s2",
    58: "[Xe] 4f1 5d1 6s2",
    64: "[Xe] 4f7 5d1 6s2",
    78: "[Xe] 4f14 5d9 6s1",
    79: "[Xe] 4f14 5d10 6s1",
    89: "[Rn] 6d1 7s2",
    90: "[Rn] 6d2 7s2",
    91: "[Rn] 5f2 6d1 7s2",
    92: "[Rn] 5f3 6d1 7s2",
}
LAST_PUBLISHED = 92
LAST_ELEMENT = 118


@dataclass(frozen=True, order=True)
class Subshell:
    """A level of an atom and its electrons.

    Attributes:
        principal: n.
        angular: l.
        electrons: in it, at most 2 (2 l + 1); fractions are allowed.
    """

    principal: int
    angular: int
    electrons: float

    @property
    def name(self) -> str:
        """The name, such as 3d."""
        return f"{self.principal}{SUBSHELL_LETTERS[self.angular]}"


@dataclass(frozen=True)
class Configuration:
    """The subshells of an atom, sorted by n and l.

    Raises:
        ValueError: a subshell twice, none, or one with too many electrons or none.
    """

    subshells: tuple[Subshell, ...]

    def __post_init__(self) -> None:
        names = [subshell.name for subshell in self.subshells]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"a configuration names each subshell once, got {names}; pass '[He] 2s2 2p2'")
        for subshell in self.subshells:
            capacity = 4 * subshell.angular + 2
            if not 0 < subshell.electrons <= capacity or subshell.angular >= subshell.principal:
                raise ValueError(
                    f"{subshell.name} with {subshell.electrons:g} electrons is not a subshell: n is above l, and at "
                    f"most {capacity} electrons are in it; write '{subshell.principal}s2'"
                )

    @classmethod
    def from_text(cls, text: str) -> Configuration:
        """Return the configuration of a text such as `"[Ar] 3d6 4s2"`; electrons may be fractions.

        Raises:
            ValueError: the text cannot be read.
        """
        return cls(tuple(sorted(_read_subshells(text))))

    @property
    def electrons(self) -> float:
        """The number of all electrons."""
        return sum(subshell.electrons for subshell in self.subshells)

    def select_angular(self, angular: int) -> tuple[Subshell, ...]:
        """Return the subshells of one angular momentum."""
        return tuple(subshell for subshell in self.subshells if subshell.angular == angular)


def ground_configuration(number: int) -> Configuration:
    """Return the published configuration of a neutral atom, 1 to 92.

    Raises:
        ValueError: there is no such element, or no published configuration.
    """
    check_number(number)
    if number > LAST_PUBLISHED:
        raise ValueError(
            f"the tables end at Z = {LAST_PUBLISHED}, got {number}; pass configuration='[Rn] 5f4 6d1 7s2' or the like"
        )
    if number in IRREGULAR_ATOMS:
        return Configuration.from_text(IRREGULAR_ATOMS[number])
    return Configuration(tuple(sorted(_fill_subshells(number))))


def check_number(number: int) -> None:
    """Refuse an atomic number that there is not.

    Raises:
        TypeError: the number is not whole.
        ValueError: it is not between 1 and 118.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"an atomic number is whole, got {number!r}; pass solve_atom(92)")
    if not 1 <= number <= LAST_ELEMENT:
        raise ValueError(f"atomic numbers go from 1 to {LAST_ELEMENT}, got {number}; pass solve_atom(92)")


def _read_subshells(text: str) -> Iterator[Subshell]:
    for word in text.split():
        core = re.fullmatch(r"\[(\w+)\]", word)
        subshell = re.fullmatch(r"([1-7])([spdf])(\d+(?:\.\d+)?)", word)
        if core and core[1] in NOBLE_CORES:
            yield from _fill_subshells(NOBLE_CORES[core[1]])
        elif subshell:
            yield Subshell(int(subshell[1]), SUBSHELL_LETTERS.index(subshell[2]), float(subshell[3]))
        else:
            raise ValueError(f"{word!r} in {text!r} is neither a core nor a subshell; write '[Ar] 3d6 4s2'")


def _fill_subshells(number: int) -> Iterator[Subshell]:
    """Yield the subshells of so many electrons, filled one after another."""
    remaining = number
    for name in SUBSHELL_ORDER.split():
        angular = SUBSHELL_LETTERS.index(name[1])
        electrons = min(remaining, 4 * angular + 2)
        if electrons:
            yield Subshell(int(name[0]), angular, electrons)
        remaining -= electrons
