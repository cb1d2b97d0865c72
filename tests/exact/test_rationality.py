"""Stable rationality: polytopes by brute force, subdivisions that fill, sums that are known, bad input."""

from itertools import combinations
from math import comb, factorial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.exact.polytopes import (
    find_facets,
    has_width_one,
    list_faces,
    list_lattice_points,
    measure_dimension,
    measure_volume,
)
from forerun.exact.rationality import (
    MotivicSum,
    classify_cell,
    degeneration_sum,
    quadratic_heights,
    simplex_points,
    subdivide_polytope,
)

CUBE = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]


def degenerate(dimension, degree, heights=quadratic_heights, facts=None):
    points = simplex_points(dimension, degree)
    return degeneration_sum(subdivide_polytope(points, heights(points)), facts=facts)


def cut_top(level):
    return lambda points: [max(0, sum(point) - level) for point in points]


def test_faces_of_a_cube_and_a_prism():
    faces = list_faces(CUBE)
    assert [list(faces.values()).count(size) for size in range(4)] == [8, 12, 6, 1]
    assert all(len(facet) == 4 for facet in find_facets(CUBE))
    prism = [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 1), (2, 0, 1), (0, 2, 1), (1, 1, 0)]
    counts = list(list_faces(prism).values())
    assert [counts.count(size) for size in range(4)] == [6, 9, 5, 1]


@pytest.mark.parametrize("dimension, degree", [(1, 4), (2, 3), (3, 2), (4, 2)])
def test_volumes_and_lattice_points_of_simplices(dimension, degree):
    points = simplex_points(dimension, degree)
    assert measure_volume(points) == degree**dimension
    assert len(points) == comb(dimension + degree, dimension)
    corners = [point for point in points if degree in point or not any(point)]
    if dimension > 1:
        assert set(list_lattice_points(corners)) == set(points)
    assert measure_volume(CUBE) == factorial(3)
    assert measure_volume([(0, 0, 1), (1, 0, 1), (0, 1, 1)]) == 0
    assert measure_dimension([(3, 3)]) == 0


def test_lattice_points_in_a_span_that_no_coordinates_see():
    """A segment and a triangle whose projection to two coordinates has more lattice points than they."""
    triangle = [(0, 0, 0), (2, 0, 1), (0, 2, 1)]
    assert set(list_lattice_points(triangle)) == {*triangle, (1, 1, 1)}
    assert classify_cell([(0, 0), (4, 6)]).points == 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=8, unique=True), st.data())
def test_subdivisions_are_those_of_the_lower_hull(points, data):
    """In the plane, by brute force: a triple is on a cell if no lifted point lies below its plane."""
    if measure_dimension(points) < 2:
        return
    heights = data.draw(st.lists(st.integers(0, 9), min_size=len(points), max_size=len(points)))
    subdivision = subdivide_polytope(points, heights)
    cells = set()
    for triple in combinations(range(len(points)), 3):
        (x0, y0), (x1, y1), (x2, y2) = (points[n] for n in triple)
        det = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not det:
            continue
        h0, h1, h2 = (heights[n] for n in triple)
        a = (h1 - h0) * (y2 - y0) - (h2 - h0) * (y1 - y0)
        b = (x1 - x0) * (h2 - h0) - (x2 - x0) * (h1 - h0)
        gaps = [((h - h0) * det - a * (x - x0) - b * (y - y0)) * (1 if det > 0 else -1)
                for (x, y), h in zip(points, heights, strict=True)]  # fmt: skip
        if min(gaps) >= 0:
            cells.add(frozenset(n for n, gap in enumerate(gaps) if gap == 0))
    assert set(subdivision.value) == cells


@pytest.mark.parametrize("dimension, degree", [(2, 4), (3, 3), (4, 2)])
def test_quadratic_heights_cut_into_unimodular_simplices(dimension, degree):
    points = simplex_points(dimension, degree)
    subdivision = subdivide_polytope(points, quadratic_heights(points))
    assert len(subdivision.maximal_cells) == degree**dimension == subdivision.volume
    assert all(len(cell) == dimension + 1 for cell in subdivision.maximal_cells)
    euler = sum((-1) ** size for size in subdivision.cells.values())
    assert euler == (-1) ** dimension  # of an open ball


@pytest.mark.parametrize("degree", range(1, 7))
def test_plane_curves_have_the_sum_one_minus_their_genus(degree):
    genus = (degree - 1) * (degree - 2) // 2
    total = degenerate(2, degree)
    assert total.points == 1 - genus
    assert total.value == (genus > 0)
    assert not total.others
    assert not total.unknown


@pytest.mark.parametrize(
    "dimension, degree, verdict",
    [(3, 1, False), (3, 2, False), (3, 3, False), (3, 4, True), (3, 5, True), (4, 3, False)],
)
def test_surfaces_and_threefolds_that_are_known(dimension, degree, verdict):
    assert degenerate(dimension, degree).value is verdict


def test_any_subdivision_gives_the_same_answer_where_it_gives_one():
    """A quartic surface by a triangulation, and cut into two; the sum itself is another, of other strata."""
    whole = degenerate(3, 4, lambda points: [0] * len(points))
    assert whole.others == {"genus 1 in dimension 2": 1}
    assert whole.value is True
    assert degenerate(3, 4, cut_top(3)).value is True
    assert "genus 3 in dimension 1" in degenerate(3, 5, cut_top(4)).others


def test_what_is_not_shown_is_not_decided():
    assert degenerate(4, 4, lambda points: [0] * len(points)).value is None
    assert "not decided" in str(degenerate(5, 5, cut_top(4)))
    published = {"degree 4 in P^4": False, "degree 4 in P^5": False}
    both = degenerate(5, 5, cut_top(4), facts=published)
    assert both.value is None  # of opposite signs: they could be stably birational to one another
    only = degenerate(5, 5, cut_top(4), facts={"degree 4 in P^4": False, "degree 4 in P^5": True})
    assert (only.points, only.value) == (2, True)


def test_sums_are_judged_by_what_cannot_cancel():
    assert MotivicSum(1).value is False
    assert MotivicSum(0).value is True
    assert MotivicSum(1, {"a": 0}).value is None
    assert MotivicSum(2, {"a": 0}).value is True
    assert MotivicSum(1, {"degree 4 in P^4": 1}).value is True
    assert MotivicSum(1, {"degree 4 in P^4": 1}, {"unknown": (2, 0)}).value is True
    assert MotivicSum(1, {"degree 4 in P^4": 1}, {"unknown": (0, 1)}).value is None
    assert MotivicSum(1, {"degree 4 in P^4": 1, "degree 4 in P^5": -1}).value is None
    assert MotivicSum(1, {"genus 1 in dimension 2": -1}, {"unknown": (2, 3)}).value is True
    assert MotivicSum(5, {}, {"unknown": (1, 0)}).value is None


def test_cells_are_classified_by_reasons():
    assert classify_cell([(0, 0)]).name == "empty"
    assert classify_cell(CUBE).name == "rational"
    assert classify_cell([(0, 0), (3, 0), (0, 3)]).name == "genus 1 in dimension 1"
    assert classify_cell([(0, 0), (2, 0), (0, 2)]).name == "rational"
    assert classify_cell([(0, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, 3)]).name == "rational"
    assert (
        classify_cell([(0, 0, 0, 0), (4, 0, 0, 0), (0, 4, 0, 0), (0, 0, 4, 0), (0, 0, 0, 4)]).name == "degree 4 in P^4"
    )
    assert not has_width_one([(0, 0), (2, 0), (0, 2)])
    box = [(0, 0, 0), (2, 0, 0), (0, 2, 0), (2, 2, 0), (0, 0, 2), (1, 0, 2)]
    assert classify_cell(box).name in ("unknown", "genus 1 in dimension 2")


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: subdivide_polytope([], []), "tuples of integers"),
        (lambda: subdivide_polytope([(0, 0), (1, 0, 0)], [0, 0]), "of one length"),
        (lambda: subdivide_polytope([(0, 0), (1.0, 0)], [0, 0]), "tuples of integers"),
        (lambda: subdivide_polytope([(0, 0), (1, 1), (2, 2)], [0, 0, 0]), "lie in a hyperplane"),
        (lambda: subdivide_polytope(simplex_points(2, 1), [0, 0]), "an integer for each"),
        (lambda: subdivide_polytope(simplex_points(2, 1), [0, 0, 0.5]), "an integer for each"),
        (lambda: subdivide_polytope(simplex_points(2, 40), [0] * 861), "at most 400"),
        (lambda: simplex_points(0, 1), "simplex_points\\(3, 4\\)"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
