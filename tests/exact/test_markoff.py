"""Markoff-like surfaces: points by brute force, orbits against a search, the theorem's edge, bad input."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.engine.testing import check_map
from forerun.exact.markoff import LabelMap, MarkoffSurface, find_orbits, list_primes, list_surfaces, walk_orbits
from forerun.limits import AndersonMixing

PRIMES = list_primes(range(5, 24))
surfaces = st.builds(
    MarkoffSurface, st.sampled_from(PRIMES), st.tuples(*[st.integers(-30, 30)] * 3)
)  # parameters need not be reduced


@pytest.mark.parametrize("prime", [5, 7, 11])
@pytest.mark.parametrize("parameters", [(0, 0, 0), (2, 0, 0), (-2, 5, 7), (-1, -1, -1), (3, 1, 4)])
def test_points_are_those_of_brute_force(prime, parameters):
    a1, a2, a3 = parameters
    s = 3 + sum(parameters)
    plain = [
        (x, y, z)
        for x, y, z in product(range(prime), repeat=3)
        if (x * x + y * y + z * z + a1 * y * z + a2 * x * z + a3 * x * y - s * x * y * z) % prime == 0
    ]
    points = MarkoffSurface(prime, parameters).find_points()
    assert [tuple(point) for point in points.points.tolist()] == plain
    assert len(points) == len(plain)


@settings(max_examples=25, deadline=None)
@given(surfaces)
def test_involutions_are_permutations_of_the_points(surface):
    points = surface.find_points()
    rows = torch.arange(len(points))
    assert not surface.evaluate(points.points).any()
    for place, image in enumerate(points.images):
        assert torch.equal(image[image], rows)
        assert torch.equal(surface.flip_coordinate(points.points, place), points.points[image])
    assert points.points[0].tolist() == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(surfaces)
def test_labels_are_the_orbits_of_a_search(surface):
    points = surface.find_points()
    walked = walk_orbits(points)
    for jumps in (True, False):
        orbits = find_orbits(points, jumps=jumps)
        assert torch.equal(orbits.labels, walked.labels)
        assert orbits.sizes == walked.sizes
        assert orbits.certified
        assert walked.certified
        assert orbits.limit.residual == 0
    assert sum(orbits.sizes) + 1 == len(points)


@settings(max_examples=50, deadline=None)
@given(surfaces)
def test_every_orbit_of_a_typical_surface_is_divisible(surface):
    orbits = find_orbits(surface)
    assert not surface.is_typical or orbits.is_divisible


@pytest.mark.parametrize(
    "prime, parameters, sizes",
    [
        (7, (0, 0, 0), [28]),
        (31, (0, 0, 0), [868]),
        (31, (2, 0, 0), [434, 496]),
        (31, (2, 2, 2), [217, 248, 248, 248]),
        (31, (-2, 5, 7), [1, 480, 480]),  # a second orbit of one point: the theorem asks for a_i^2 other than 4
        (101, (0, 0, 0), [10504]),
    ],
)
def test_orbits_that_were_counted_elsewhere(prime, parameters, sizes):
    orbits = find_orbits(MarkoffSurface(prime, parameters))
    assert orbits.sizes == sizes
    assert orbits.fixed_points == sizes.count(1)
    assert orbits.is_divisible == all(size % prime == 0 for size in sizes)
    assert orbits.rounds <= 14


def test_exceptional_parameters_lie_on_the_cubic_of_cayley():
    """On it with one `a_i^2 = 4` there are two orbits, with three four; off it there are orbits of one point."""
    surfaces = list_surfaces(7)
    assert len(surfaces) == 84 - 12
    for surface in surfaces:
        orbits = find_orbits(surface)
        if surface.is_typical:
            assert len(orbits.sizes) == 1
        elif surface.is_on_cayley_cubic:
            assert len(orbits.sizes) == {1: 2, 3: 4}[surface.special_parameters]
            assert orbits.is_divisible
        else:
            assert orbits.fixed_points == surface.special_parameters
            assert not orbits.is_divisible


def test_jumping_takes_fewer_rounds_than_walking_on_a_long_cycle():
    """Two reflections of a line of 4096 points: labels that walk take as many rounds."""
    rows = torch.arange(4096)
    images = torch.stack([rows ^ 1, torch.cat([rows[:1], (rows[1:-1] - 1 ^ 1) + 1, rows[-1:]])])
    labels, rounds = rows.double(), 0
    while labels.any():
        labels, rounds = LabelMap(images).evaluate(labels), rounds + 1
        assert rounds <= 24
    walked = LabelMap(images, jumps=False).evaluate(rows.double())
    assert walked.max() == 4095 - 1


def test_primes_are_primes():
    assert PRIMES == [5, 7, 11, 13, 17, 19, 23]
    assert list_primes([2, 3, 4, 9, 25, 997, 999]) == [2, 3, 997]


def test_the_map_keeps_its_contract():
    points = MarkoffSurface(11).find_points()
    check_map(LabelMap(points.images), torch.arange(len(points), dtype=torch.float64))


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: find_orbits(MarkoffSurface(11), method=AndersonMixing(3)), "leave out method="),
        (lambda: MarkoffSurface(91), "91 = 7 x 13; the next prime is 97"),
        (lambda: MarkoffSurface(3), "from 5 to 1000"),
        (lambda: MarkoffSurface(1009), "from 5 to 1000"),
        (lambda: MarkoffSurface(7.0), "write 101"),
        (lambda: MarkoffSurface(True), "write 101"),
        (lambda: MarkoffSurface(7, (1, 2)), "three integers"),
        (lambda: MarkoffSurface(7, (1, 2, 0.5)), "three integers"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
