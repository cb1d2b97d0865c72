"""MotivicSum: the sum of stable birational classes over the cells of a subdivision, and what it proves.

A very general hypersurface with a given Newton polytope, over the complex numbers, is not stably rational if

    sum over cells s that are not in the boundary of  (-1)^{n - dim s} [X_s]      is not  [point]

where `X_s` is the hypersurface of the terms on the cell (Nicaise and Ottem, Compos. Math. 158, 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import gcd

from forerun.exact.polytopes import (
    LatticePoint,
    drop_coordinates,
    has_width_one,
    list_faces,
    list_lattice_points,
    measure_dimension,
)
from forerun.exact.rationality.subdivision import RegularSubdivision


@dataclass(frozen=True)
class StratumClass:
    """What is known of the stable birational class of one stratum.

    Attributes:
        points: how many points it is; 1 also for a stratum that is rational; 0 for an empty one.
        genus: its geometric genus, the number of lattice points inside the cell; not stably rational if positive.
        name: "rational", "points", "empty", "genus 1 in dimension 2", or "degree 4 in P^4" and "unknown" where
            neither is shown.
    """

    points: int
    genus: int
    name: str

    @property
    def is_known(self) -> bool:
        """Whether it is rational, or not stably rational, for a reason given here."""
        return self.genus > 0 or self.name in ("rational", "points", "empty")


@dataclass(frozen=True)
class MotivicSum:
    """The obstruction's sum.

    Attributes:
        points: the coefficient of the class of a point.
        others: signed counts of the classes that are not stably rational, by name.
        unknown: signed counts of those of which neither is shown, by name: positive and negative apart.
    """

    points: int
    others: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def value(self) -> bool | None:
        """True if the sum is not the class of a point: not stably rational. False if it is one; None if not shown."""
        if any(self.others.values()):
            return True if self._cannot_cancel() else None
        if self.unknown or (self.others and self.points == 1):
            return None
        return self.points != 1

    def _cannot_cancel(self) -> bool:
        """Whether a class that is not stably rational is left, whatever the unknown ones are.

        Genus and dimension are those of the class, so that named classes of positive genus are all different; unknown
        ones have genus 0.
        """
        if any(count for name, count in self.others.items() if name.startswith("genus")):
            return True
        signs = {count > 0 for count in self.others.values() if count}
        for positive, negative in self.unknown.values():
            signs |= {True} if positive else set()
            signs |= {False} if negative else set()
        return len(signs) == 1

    def __str__(self) -> str:
        terms = [f"{self.points:+d} [point]"]
        terms += [f"{count:+d} [{name}]" for name, count in self.others.items() if count]
        terms += [f"+{positive} -{negative} [{name}]" for name, (positive, negative) in self.unknown.items()]
        words = {True: "not stably rational", False: "no obstruction", None: "not decided"}
        return f"{' '.join(terms)}: {words[self.value]}"


def degeneration_sum(
    subdivision: RegularSubdivision,
    *,
    facts: Mapping[str, bool] | None = None,
) -> MotivicSum:
    """Return the obstruction's sum of a regular subdivision.

    Args:
        subdivision: of the Newton polytope.
        facts: what is published of classes that are not decided here, by name: True where they are stably rational,
            such as `{"degree 4 in P^4": False}`.
    """
    published, size = facts or {}, len(subdivision.points[0])
    points, others, unknown = 0, dict[str, int](), dict[str, tuple[int, int]]()
    for cell, dimension in subdivision.cells.items():
        sign = (-1) ** (size - dimension)
        stratum = classify_cell([subdivision.points[n] for n in sorted(cell)])
        if stratum.is_known and not stratum.genus:
            points += sign * stratum.points
        elif stratum.is_known or published.get(stratum.name) is False:
            others[stratum.name] = others.get(stratum.name, 0) + sign
        elif published.get(stratum.name):
            points += sign
        else:
            positive, negative = unknown.get(stratum.name, (0, 0))
            unknown[stratum.name] = (positive + (sign > 0), negative + (sign < 0))
    return MotivicSum(points, others, unknown)


def classify_cell(points: Sequence[LatticePoint]) -> StratumClass:
    """Return what is known of the hypersurface of general terms on a cell, the convex hull of these points.

    A cell of dimension 0 gives an empty one, and one of dimension 1 and lattice length L gives L points. With lattice
    width one it is linear in a variable, and rational; with lattice points inside it has global forms of top degree.
    """
    dimension = measure_dimension(points)
    if dimension == 0:
        return StratumClass(0, 0, "empty")
    if dimension == 1:
        return StratumClass(measure_length(points), 0, "points")
    points = list_lattice_points(points)
    inside = count_inside(points)
    if inside:
        return StratumClass(0, inside, f"genus {inside} in dimension {dimension - 1}")
    if dimension == 2 or has_width_one(points):
        return StratumClass(1, 0, "rational")
    name = name_dilated_simplex(points, dimension)
    if name.startswith("degree 2") or name == "degree 3 in P^3":  # quadrics, and cubic surfaces
        return StratumClass(1, 0, "rational")
    return StratumClass(0, 0, name)


def measure_length(points: Sequence[LatticePoint]) -> int:
    """Return the lattice length of a segment: the number of its lattice points, less one."""
    low, high = min(points), max(points)
    return gcd(*(b - a for a, b in zip(low, high, strict=True)))


def count_inside(points: Sequence[LatticePoint]) -> int:
    """Return how many of the lattice points of a polytope lie on no proper face."""
    dimension = measure_dimension(points)
    flat = drop_coordinates(points, dimension)
    boundary = {n for face, size in list_faces(flat).items() if size < dimension for n in face}
    return len(points) - len(boundary)


def name_dilated_simplex(points: Sequence[LatticePoint], dimension: int) -> str:
    """Return "degree d in P^n" for the points of a dilated unimodular simplex, otherwise "unknown"."""
    faces = list_faces(drop_coordinates(points, dimension))
    corners = [face for face, size in faces.items() if size == 0]
    edges = {len(face) - 1 for face, size in faces.items() if size == 1}
    if len(corners) != dimension + 1 or len(edges) != 1:
        return "unknown"
    (degree,) = edges
    return f"degree {degree} in P^{dimension}" if len(points) == len(simplex_points(dimension, degree)) else "unknown"


def simplex_points(dimension: int, degree: int) -> list[LatticePoint]:
    """Return the lattice points of the Newton polytope of a hypersurface of a degree in projective space."""
    if dimension < 1 or degree < 1:
        raise ValueError(
            f"dimension {dimension} and degree {degree} must both be 1 or more; write simplex_points(3, 4)"
        )
    return [point for point in product(range(degree + 1), repeat=dimension) if sum(point) <= degree]


def quadratic_heights(points: Sequence[LatticePoint]) -> list[int]:
    """Return heights whose regular subdivision cuts along all `x_i + ... + x_j = k`: into unimodular simplices.

    They are the sums of `(x_i + ... + x_j)^2` over all `i <= j`.
    """
    size = len(points[0])
    spans = [(i, j) for i in range(size) for j in range(i + 1, size + 1)]
    return [sum(sum(point[i:j]) ** 2 for i, j in spans) for point in points]
