"""Routes of the disc of Push-T: to the beginning of a push without touching the block, and along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forerun.worlds.robots.path_rules import Array
from forerun.worlds.robots.push_t import BLOCK_OUTLINE, place_points

DISC_RADIUS: Final = 15.0
DISC_ROOM: Final = (18.0, 494.0)  # where the disc may be without touching a wall
TRAVEL_STEP: Final = 24.0  # pixels a step, on the way to a push
PUSH_STEP: Final = 14.0  # pixels a step, in a push
STANDOFF: Final = 18.0  # distance from the beginning of a push at which the disc comes from the side
DETOUR_RADIUS: Final = 108.0  # of the circle round the block
DETOUR_ANGLE: Final = 0.35  # between two points of the circle, radians
BLOCK_CENTRE: Final = np.array([[0.0, 50.0]])  # of the circle, in the block's own coordinates
SAFE_CLEARANCE: Final = DISC_RADIUS + 2.5


def push_places(start: Array, direction: Array, length: float) -> list[Array]:
    """Return where the disc is to be, step by step in a push, and while it comes to rest."""
    count = max(math.ceil(length / PUSH_STEP), 1)
    places = [start + direction * length * step / count for step in range(1, count + 1)]
    return [*places, places[-1], places[-1]]


def travel_places(disc: Array, route: Sequence[Array]) -> list[Array]:
    """Return where the disc is to be, step by step on a route, and while it comes to rest."""
    places: list[Array] = []
    for start, end in pairwise([disc, *route]):
        count = max(math.ceil(distance_between(start, end) / TRAVEL_STEP), 1)
        for step in range(1, count + 1):
            places.append(start + (end - start) * step / count)
    return [*places, places[-1], places[-1]]


def route_length(disc: Array, route: Sequence[Array]) -> float:
    """Return the length of a route from where the disc is, in pixels."""
    length = 0.0
    for start, end in pairwise([disc, *route]):
        length += distance_between(start, end)
    return length


def distance_between(start: Array, end: Array) -> float:
    """Return the distance of two points, in pixels."""
    return float(np.linalg.norm(end - start))


def plan_route(
    disc: Array,
    start: Array,
    pose: Array,
    normal: Array,
) -> list[Array]:
    """Return a route to the beginning of a push without touching the block: straight, or round it on a circle.

    Args:
        disc: where the disc is, `(2,)`.
        start: of the push, `(2,)`.
        pose: of the block, `(3,)`.
        normal: outward, of the edge that is pushed, `(2,)`.
    """
    approach = start + STANDOFF * normal
    straight = disc + (approach - disc) * np.linspace(0, 1, 24)[2:, None]
    if block_clearance(straight, pose).min() > SAFE_CLEARANCE:
        return [approach, start]
    centre = place_points(BLOCK_CENTRE, pose)[0]
    entry = _circle_entry(start, centre, normal)
    detour = [*_circle_points(disc, entry, centre), entry]
    return [*(np.clip(place, *DISC_ROOM) for place in detour), start]


def _circle_entry(start: Array, centre: Array, normal: Array) -> Array:
    """Return where the line from the beginning of a push, outwards, meets the circle round the block."""
    offset = start - centre
    along = float(offset @ normal)
    square = along**2 - float(offset @ offset) + DETOUR_RADIUS**2
    reach = -along + math.sqrt(max(square, 0.0))
    return np.asarray(start + max(reach, 0.0) * normal)


def _circle_points(disc: Array, entry: Array, centre: Array) -> list[Array]:
    """Return points of the circle round the block, the shorter way from the disc's side to the entry's."""
    first = _angle_about(centre, disc)
    last = _angle_about(centre, entry)
    arc = (last - first + math.pi) % (2 * math.pi) - math.pi
    count = max(int(abs(arc) / DETOUR_ANGLE), 1) + 1
    points = []
    for angle in np.linspace(first, first + arc, count):
        direction = np.array([math.cos(angle), math.sin(angle)])
        points.append(centre + DETOUR_RADIUS * direction)
    return points


def _angle_about(centre: Array, place: Array) -> float:
    x, y = place - centre
    return math.atan2(y, x)


def block_clearance(points: Array, pose: Array) -> Array:
    """Return the distance of points `(N, 2)` from the block's outline, negative inside."""
    corners = place_points(BLOCK_OUTLINE, pose)
    neighbours = np.roll(corners, -1, 0)
    distances = []
    for corner, neighbour in zip(corners, neighbours, strict=True):
        distances.append(_edge_distance(points, corner, neighbour))
    nearest = np.min(distances, 0)
    return np.asarray(np.where(_is_in_block(points, pose), -nearest, nearest))


def _edge_distance(points: Array, corner: Array, neighbour: Array) -> Array:
    """Return the distance of points `(N, 2)` from the edge between two corners."""
    edge = neighbour - corner
    share = np.clip((points - corner) @ edge / (edge @ edge), 0, 1)
    offset = points - corner - share[:, None] * edge
    return np.asarray(np.linalg.norm(offset, axis=1))


def _is_in_block(points: Array, pose: Array) -> NDArray[np.bool_]:
    """Return which of the points `(N, 2)` lie in the bar or the stem of the T."""
    turn_back = np.array([0.0, 0.0, -pose[2]])
    x, y = place_points(points - pose[:2], turn_back).T
    in_bar = (abs(x) < 60) & (y > 0) & (y < 30)
    in_stem = (abs(x) < 15) & (y > 0) & (y < 120)
    return np.asarray(in_bar | in_stem)
