"""Landau analysis: Symanzik polynomials, published Euler characteristics, textbook singularities, bad input."""

import pytest
import sympy

from forerun.exact.landau import (
    FeynmanGraph,
    banana_graph,
    count_critical_points,
    drops_on_component,
    find_determinant,
    one_loop_graph,
    parachute_graph,
)
from forerun.exact.landau.determinant import split_factors
from forerun.exact.landau.euler import count_standard_monomials

m1, m2, m3, m4, m, s, t = sympy.symbols("m1 m2 m3 m4 m s t")
P = sympy.symbols("p1:5")
A = sympy.symbols("a1:5")


def same(first, second):
    return sympy.expand(first - second) == 0


def box(masses, legs):
    channels = {frozenset({n}): leg for n, leg in enumerate(legs)}
    return one_loop_graph(masses, channels | {frozenset({0, 1}): s, frozenset({1, 2}): t})


def test_symanzik_polynomials_by_hand():
    a1, a2, a3, a4 = A
    sunrise = banana_graph([m1, m2, m3], s)
    U = a1 * a2 + a2 * a3 + a1 * a3
    assert same(sunrise.first_polynomial(), U)
    assert same(sunrise.second_polynomial(), U * (m1 * a1 + m2 * a2 + m3 * a3) - s * a1 * a2 * a3)
    square = box([0] * 4, [0] * 4)
    assert same(square.sum_polynomial(), a1 + a2 + a3 + a4 - s * a2 * a4 - t * a1 * a3)
    parachute = parachute_graph([0] * 4, {frozenset({n}): P[n] for n in range(3)})
    assert same(parachute.first_polynomial(), (a1 + a2) * (a3 + a4) + a3 * a4)
    assert same(parachute.second_polynomial(), -P[1] * a1 * a2 * (a3 + a4) - P[0] * a1 * a3 * a4 - P[2] * a2 * a3 * a4)
    assert banana_graph([m1, m2], s).kinematics() == [m1, m2, s]


def test_a_tadpole_in_a_graph_is_a_tree_less():
    tadpole = FeynmanGraph(((0, 0),), (m,), {}, ())
    assert same(tadpole.sum_polynomial(), A[0] + m * A[0] ** 2)


@pytest.mark.parametrize(
    "graph, characteristic, volume",
    [
        (box([m1, m2, m3, m4], P), 15, 15),
        (box([0] * 4, P), 11, 11),
        (box([m1, m2, m3, m4], [0] * 4), 11, 15),
        (box([0] * 4, [0] * 4), 3, 3),
        (banana_graph([0] * 4, s), 1, 1),
        (parachute_graph([0] * 4, {frozenset({n}): P[n] for n in range(3)}), 4, 8),
    ],
)
def test_published_euler_characteristics_and_volumes(graph, characteristic, volume):
    """Table 1 of arXiv 2311.16219, as far as it takes a second."""
    count = count_critical_points(graph)
    assert (count.value, count.volume) == (characteristic, volume)


def test_the_bubble_has_its_masses_threshold_and_momentum():
    result = find_determinant(banana_graph([m1, m2], s))
    threshold = m1**2 + m2**2 + s**2 - 2 * (m1 * m2 + m1 * s + m2 * s)
    assert result.value[:3] == [m1, m2, s]
    assert same(result.value[3], threshold)
    assert all(component.drops for component in result.components)
    assert (result.characteristic, result.volume, result.dominant, result.skipped) == (3, 3, 0, 0)


def test_the_triangle_of_one_mass():
    channels = {frozenset({n}): s for n in range(3)}
    result = find_determinant(one_loop_graph([m] * 3, channels))
    assert set(result.value) == {m, s, s - 4 * m, s - 3 * m}
    assert all(component.drops for component in result.components)


def test_the_sunrise_of_one_mass_has_threshold_and_pseudothreshold():
    result = find_determinant(banana_graph([m] * 3, s), test_drops=False)
    assert set(result.value) == {m, s, s - m, s - 9 * m}
    assert result.characteristic < result.volume
    assert result.dominant > 0
    assert {component.drops for component in result.components} == {None}


def test_a_polynomial_that_is_no_component_does_not_drop():
    bubble = banana_graph([m1, m2], s)
    assert drops_on_component(bubble, s - m1 - m2 - 2 * m1 * m2) is False
    assert drops_on_component(bubble, m1 - m2) is False
    assert drops_on_component(bubble, m1) is True


def test_faces_above_a_dimension_are_counted_as_skipped():
    result = find_determinant(banana_graph([m1, m2], s), max_dimension=1)
    assert result.skipped == 1
    assert len(result.value) == 3
    assert s not in result.value


def test_standard_monomials_are_counted():
    assert count_standard_monomials([(2, 0), (1, 1), (0, 3)]) == 4
    with pytest.raises(ArithmeticError, match="seed="):
        count_standard_monomials([(2, 0), (1, 1)])
    assert set(split_factors([6 * s**2 * (s - m), 4 * s * (m - s)])) in ({s, s - m}, {s, m - s})


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: FeynmanGraph((), (), {}, ()), "1 to 6 edges"),
        (lambda: banana_graph([m] * 7, s), "1 to 6 edges"),
        (lambda: FeynmanGraph(((0, 1),), (m, m), {}, (0, 1)), "a squared mass for each"),
        (lambda: FeynmanGraph(((0, 1), (2, 3)), (m, m), {}, (0, 1)), "not connected"),
        (lambda: one_loop_graph([m] * 3, {}).sum_polynomial(), "add frozenset"),
        (lambda: drops_on_component(banana_graph([m1, m2], s), t - s), "must be a polynomial in"),
        (lambda: drops_on_component(banana_graph([m1, m2], s), sympy.Integer(3)), "must be a polynomial in"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
