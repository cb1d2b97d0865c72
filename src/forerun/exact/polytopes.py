"""Lattice polytopes, exactly: facets and faces as sets of points; floating point only proposes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

from forerun.exact.exact_libraries import load_flint, load_scipy_spatial

LatticePoint = tuple[int, ...]
Face = frozenset[int]  # the numbers of the points on it
WIDTH_REACH = 1  # of the entries of directions along which a width is looked for


def find_facets(points: Sequence[LatticePoint]) -> list[Face]:
    """Return the facets of the convex hull of points that span their space, as sets of all points on each.

    Qhull proposes simplices; the hyperplane of each is then found in integers, and all points are held against it.

    Raises:
        ValueError: the points lie in a hyperplane.
        ArithmeticError: a proposed simplex is not on a facet, so that the hull is not what floating point says.
        ImportError: scipy or python-flint is not installed.
    """
    size = len(points[0])
    if measure_dimension(points) < size:
        raise ValueError(f"the {len(points)} points lie in a hyperplane; pass them in coordinates of their own span")
    if size == 1:
        return [find_zeros([point[0] - end[0] for point in points]) for end in (min(points), max(points))]
    facets: dict[Face, None] = {}
    for simplex in propose_simplices(points):
        values = evaluate_plane(simplex, points)
        if not values:  # a flat piece of a facet that Qhull has cut up
            continue
        if min(values) < 0 < max(values):
            raise ArithmeticError("floating point has found a facet that integers refuse; please report these points")
        facets[find_zeros(values)] = None
    return list(facets)


def propose_simplices(points: Sequence[LatticePoint]) -> list[list[LatticePoint]]:
    """Return the corners of the simplices that Qhull cuts the boundary of a convex hull into, in floating point."""
    hull = load_scipy_spatial().ConvexHull([list(point) for point in points])
    return [[points[int(vertex)] for vertex in simplex] for simplex in hull.simplices]


def evaluate_plane(
    simplex: Sequence[LatticePoint],
    points: Sequence[LatticePoint],
) -> list[int]:
    """Return `normal . x - offset` of the plane through a simplex at points; nothing where it spans no hyperplane."""
    plane = find_hyperplane(simplex)
    if plane is None:
        return []
    normal, offset = plane
    return [multiply_vectors(normal, point) - offset for point in points]


def find_zeros(values: Sequence[int]) -> Face:
    """Return the places of values that are zero."""
    return frozenset(place for place, value in enumerate(values) if value == 0)


def list_faces(points: Sequence[LatticePoint]) -> dict[Face, int]:
    """Return all faces of the convex hull, the whole included and the empty one not, with their dimensions."""
    if len(points) == len(points[0]) + 1:
        return list_subsets(len(points))
    whole = frozenset(range(len(points)))
    facets = find_facets(points)
    faces, waiting = {whole}, [whole]
    while waiting:
        face = waiting.pop()
        smaller = {face & facet for facet in facets} - faces - {frozenset()}
        faces |= smaller
        waiting += smaller
    return {face: measure_dimension([points[n] for n in face]) for face in faces}


def list_subsets(count: int) -> dict[Face, int]:
    """Return the faces of a simplex, which are all subsets of its corners, with their dimensions."""
    subsets: dict[Face, int] = {}
    for size in range(1, count + 1):
        subsets |= dict.fromkeys(map(frozenset, combinations(range(count), size)), size - 1)
    return subsets


def find_hyperplane(points: Sequence[LatticePoint]) -> tuple[LatticePoint, int] | None:
    """Return integers `(normal, offset)` with `normal . x = offset` at points; None if they span no hyperplane."""
    flint = load_flint()
    rows = flint.fmpz_mat([[*point, -1] for point in points])
    kernel, rank = rows.nullspace()
    if rank != 1:
        return None
    *normal, offset = (int(kernel[place, 0]) for place in range(len(points[0]) + 1))
    return tuple(normal), offset


def measure_dimension(points: Sequence[LatticePoint]) -> int:
    """Return the dimension of the affine span of points."""
    first, *others = points
    if not others:
        return 0
    rows = [[a - b for a, b in zip(point, first, strict=True)] for point in others]
    return int(load_flint().fmpz_mat(rows).rank())


def measure_volume(points: Sequence[LatticePoint]) -> int:
    """Return `n!` times the volume of the convex hull of points in n coordinates, exactly; 0 in a hyperplane."""
    size = len(points[0])
    if measure_dimension(points) < size:
        return 0
    if size == 1:
        return max(points)[0] - min(points)[0]
    apex, total = points[0], 0
    for facet in find_facets(points):
        if 0 in facet:
            continue
        total += sum(abs(measure_simplex(apex, simplex)) for simplex in split_face([points[n] for n in sorted(facet)]))
    return total


def split_face(points: Sequence[LatticePoint]) -> Iterator[list[LatticePoint]]:
    """Iterate over the simplices of a triangulation of a face, from its first point."""
    dimension = measure_dimension(points)
    if len(points) == dimension + 1:
        yield list(points)
        return
    flat = drop_coordinates(points, dimension)
    for facet in find_facets(flat):
        if 0 not in facet:
            for simplex in split_face([points[n] for n in sorted(facet)]):
                yield [points[0], *simplex]


def drop_coordinates(
    points: Sequence[LatticePoint],
    dimension: int,
) -> list[LatticePoint]:
    """Return points in as many of their coordinates as they have dimensions, so that they still span them."""
    places = spanning_places(points, dimension)
    return [tuple(point[place] for place in places) for point in points]


def spanning_places(points: Sequence[LatticePoint], dimension: int) -> tuple[int, ...]:
    """Return the first coordinates, as many as the points have dimensions, in which they span them."""
    for places in combinations(range(len(points[0])), dimension):
        if measure_dimension([tuple(point[place] for place in places) for point in points]) == dimension:
            return places
    raise AssertionError("points span as many coordinates as they have dimensions")


def measure_simplex(apex: LatticePoint, simplex: Sequence[LatticePoint]) -> int:
    """Return the determinant of the edges of a simplex from its apex."""
    rows = [[a - b for a, b in zip(point, apex, strict=True)] for point in simplex]
    return int(load_flint().fmpz_mat(rows).det())


def list_lattice_points(points: Sequence[LatticePoint]) -> list[LatticePoint]:
    """Return all lattice points of the convex hull of points, in their own span too, those passed first."""
    dimension = measure_dimension(points)
    places = spanning_places(points, dimension)
    flat = [tuple(point[place] for place in places) for point in points]
    inequalities = [find_inequality(flat, facet) for facet in find_facets(flat)]
    inside = list(points)
    box = [range(min(column), max(column) + 1) for column in zip(*points, strict=True)]
    for candidate in set(product(*box)) - set(points):
        shadow = tuple(candidate[place] for place in places)
        in_hull = all(multiply_vectors(normal, shadow) >= offset for normal, offset in inequalities)
        if in_hull and measure_dimension([*points, candidate]) == dimension:
            inside.append(candidate)
    return inside


def find_inequality(
    points: Sequence[LatticePoint],
    facet: Face,
) -> tuple[LatticePoint, int]:
    """Return integers `(normal, offset)` with `normal . x >= offset` on all points, and equality on a facet."""
    spanning: list[LatticePoint] = []
    for n in sorted(facet):
        if measure_dimension([*spanning, points[n]]) == len(spanning):
            spanning.append(points[n])
    plane = find_hyperplane(spanning)
    assert plane is not None
    normal, offset = plane
    if any(multiply_vectors(normal, point) < offset for point in points):
        return tuple(-entry for entry in normal), -offset
    return normal, offset


def multiply_vectors(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the scalar product."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def has_width_one(points: Sequence[LatticePoint]) -> bool:
    """Return whether a direction with entries -1, 0 and 1 sees the points in two neighbouring hyperplanes.

    That is sufficient for lattice width one, and not necessary.
    """
    span = range(-WIDTH_REACH, WIDTH_REACH + 1)
    for direction in product(span, repeat=len(points[0])):
        values = [multiply_vectors(direction, point) for point in points]
        if max(values) - min(values) == 1:
            return True
    return False


def load_points(points: Sequence[Any]) -> list[LatticePoint]:
    """Return points as tuples of integers.

    Raises:
        ValueError: there are none, or one is not of integers, or of another length.
    """
    rows = [tuple(point) for point in points]
    if not rows or {len(row) for row in rows} != {len(rows[0])} or not all(type(x) is int for row in rows for x in row):
        raise ValueError("points must be tuples of integers, of one length; write [(0, 0), (1, 0), (0, 1)]")
    return rows
