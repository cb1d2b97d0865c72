"""RegularSubdivision: the cells on which a convex, piecewise linear function is linear, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forerun.exact.polytopes import (
    Face,
    LatticePoint,
    evaluate_plane,
    find_facets,
    find_zeros,
    list_faces,
    load_points,
    measure_volume,
    propose_simplices,
)

MAX_POINTS = 400


@dataclass(frozen=True)
class RegularSubdivision:
    """The regular subdivision of a lattice polytope by heights.

    Attributes:
        points: all lattice points that have a height.
        maximal_cells: the cells of full dimension, as sets of their points; points above the function are on none.
        cells: all cells that are not in the boundary, with their dimensions.
        volume: `n!` times the volume of the polytope, to which the volumes of the maximal cells add up.
    """

    points: list[LatticePoint]
    maximal_cells: list[Face]
    cells: dict[Face, int]
    volume: int

    @property
    def value(self) -> list[Face]:
        """The cells of full dimension."""
        return self.maximal_cells


def subdivide_polytope(
    points: Sequence[LatticePoint],
    heights: Sequence[int],
) -> RegularSubdivision:
    """Return the regular subdivision of a polytope by integer heights of its points.

    Qhull proposes the lower faces of the lifted points; each is found again in integers, and the volumes must add up.

    Args:
        points: lattice points that span their space.
        heights: one integer for each.

    Raises:
        ValueError: there are not as many heights as points, or too many points, or they lie in a hyperplane.
        ArithmeticError: the cells do not fill the polytope, so that floating point missed one.
        ImportError: scipy or python-flint is not installed.
    """
    rows = load_points(points)
    if [type(height) for height in heights] != [int] * len(rows):
        raise ValueError(f"got {len(rows)} points and {len(heights)} heights; pass an integer for each point")
    if len(rows) > MAX_POINTS:
        raise ValueError(f"got {len(rows)} points, of which at most {MAX_POINTS} are subdivided; take a smaller degree")
    facets, volume = find_facets(rows), measure_volume(rows)
    maximal = find_lower_cells(rows, heights)
    filled = sum(measure_volume([rows[n] for n in sorted(cell)]) for cell in maximal)
    if filled != volume:
        raise ArithmeticError(f"the cells fill {filled} of the volume {volume}: please report these heights")
    cells: dict[Face, int] = {}
    for cell in maximal:
        cells |= list_cell_faces(rows, cell)
    for cell in list(cells):
        if any(map(cell.issubset, facets)):
            del cells[cell]
    return RegularSubdivision(rows, maximal, cells, volume)


def list_cell_faces(points: Sequence[LatticePoint], cell: Face) -> dict[Face, int]:
    """Return the faces of a cell, as sets of the numbers of all points, with their dimensions."""
    order = sorted(cell)
    faces = list_faces([points[n] for n in order])
    return {frozenset(order[n] for n in face): dimension for face, dimension in faces.items()}


def find_lower_cells(
    points: Sequence[LatticePoint],
    heights: Sequence[int],
) -> list[Face]:
    """Return the sets of points on the lower faces of the lifted points."""
    lifted = [(*point, height) for point, height in zip(points, heights, strict=True)]
    top = 4 * (max(map(abs, heights)) + 1)  # above all, so that the lifted points span
    cells: dict[Face, None] = {}
    for simplex in propose_simplices([*lifted, (*points[0], top)]):
        values = evaluate_plane(simplex, [*lifted, (*points[0], top), (*points[0], top + 1)])
        upward = values[-1] - values[-2] if values else 0  # 0 for upright planes
        sides = [value if upward > 0 else -value for value in values[:-1]]
        if upward and min(sides) >= 0 < sides[-1]:
            cells[find_zeros(sides)] = None
    return list(cells)
