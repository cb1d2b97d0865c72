"""The expert of Push-T: it tries pushes in a simulation of its own, and does the one that brings the T nearest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, final

import numpy as np

from forerun.worlds.robots.experts import Expert, ExpertActor
from forerun.worlds.robots.path_rules import Array
from forerun.worlds.robots.push_t import ARENA_SIDE, BLOCK_OUTLINE, arena, place_points

GOAL_POSE: Final = np.array([256.0, 256.0, math.pi / 4])  # gym-pusht's place of the T: pixels and radians
DISC: Final = 15.0  # its radius
PUSH_GAP, OFF, ROUND = 6.0, 18.0, 108.0  # gap before a push, way back from it, radius of the way round the block
DISC_ROOM: Final = (18.0, 494.0)  # where the disc may be without touching a wall
WALK, PUSH = 24.0, 14.0  # pixels a step, on the way and in a push
LONGEST: Final = 9  # steps of a push
PUSH_TURNS: Final = (-0.4, 0.0, 0.4)  # directions of a push, from the edge's normal
SPACING, CORNER = 14.0, 6.0  # of the places on an edge where a push may begin, and their distance from its ends
PER_PIXEL: Final = 0.02  # what a pixel of way is worth, in pixels of distance to the place
WHIM: Final = 0.1  # of the distance to the place: a push so little worse than the best may be done instead


@dataclass(frozen=True)
class _Push:
    """One that was tried.

    Attributes:
        begin: the disc's place before it, `(2,)`.
        along: its direction, `(2,)`.
        length: pixels.
        way: places on the way there from where the disc is, `begin` last.
        left: mean distance of the corners to their places behind it.
        cost: of it and the way.
    """

    begin: Array
    along: Array
    length: float
    way: Sequence[Array]
    left: float
    cost: float


@final
@dataclass(frozen=True)
class PushExpert(Expert):
    """Pushes straight at an edge, again and again, each time where a simulation says that it helps most.

    Without damping the block lies still unless it is pushed, so that a push can be tried by itself. Greedy, by the
    mean distance of the block's corners to their places.
    """

    def begin_episode(self, random: np.random.Generator) -> ExpertActor:
        trial, queue = _Trial(), list[Array]()

        def act(scene: Array, features: Array) -> Array:
            if not queue:
                found = _choose(trial, scene[:2], scene[2:], random)
                queue.extend([scene[:2]] if found is None else [*_walk(scene[:2], found.way), *_strokes(found)])
            return queue.pop(0)

        return act


class _Trial:
    """A simulation to try pushes in."""

    def __init__(self) -> None:
        self._arena: Any = arena()
        self._arena.reset(seed=0)

    def after(self, begin: Array, pose: Array, places: Sequence[Array]) -> Iterator[float]:
        """How far off the block is, step by step, when the disc goes from place to place."""
        disc, block, space = self._arena.agent, self._arena.block, self._arena.space
        disc.position, disc.velocity = tuple(begin), (0, 0)
        block.angle, block.position = float(pose[2]), tuple(pose[:2])
        block.velocity, block.angular_velocity = (0, 0), 0
        for body in (disc, block):
            space.reindex_shapes_for_body(body)
        for x, y in places:
            self._move(float(x), float(y))
            yield corner_distance(np.array([*block.position, block.angle]))

    def _move(self, x: float, y: float) -> None:
        """A step of the arena, without its measuring."""
        disc, space, dt = self._arena.agent, self._arena.space, self._arena.dt
        stiff, damp = self._arena.k_p, self._arena.k_v
        for _ in range(round(1 / (dt * self._arena.control_hz))):
            (px, py), (vx, vy) = disc.position, disc.velocity
            disc.velocity = (
                vx + (stiff * (x - px) - damp * vx) * dt,
                vy + (stiff * (y - py) - damp * vy) * dt,
            )
            space.step(dt)


def corner_distance(pose: Array) -> float:
    """Mean distance of the block's corners to their places, pixels."""
    return float(
        np.linalg.norm(place_points(BLOCK_OUTLINE, pose) - place_points(BLOCK_OUTLINE, GOAL_POSE), axis=1).mean()
    )


def _seats() -> tuple[Array, Array]:
    """Places on the outline where a push may begin, and the outward normals there, `(N, 2)` each."""
    places, normals = [], []
    for corner, following in zip(BLOCK_OUTLINE, np.roll(BLOCK_OUTLINE, -1, 0), strict=True):
        length = float(np.linalg.norm(following - corner))
        tangent = (following - corner) / length
        for at in np.linspace(CORNER, length - CORNER, max(round((length - 2 * CORNER) / SPACING), 1) + 1):
            places.append(corner + at * tangent)
            normals.append([tangent[1], -tangent[0]])
    return np.array(places), np.array(normals)


SEATS, NORMALS = _seats()


def _choose(trial: _Trial, disc: Array, pose: Array, random: np.random.Generator) -> _Push | None:
    """The push to do next; None where none helps."""
    normals = place_points(NORMALS, np.array([0.0, 0.0, pose[2]]))
    begins = place_points(SEATS, pose) + (DISC + PUSH_GAP) * normals
    inside = (begins > DISC_ROOM[0]).all(1) & (begins < DISC_ROOM[1]).all(1)
    found = []
    for seat in np.flatnonzero((_clearance(begins, pose) > DISC + 2) & inside):
        begin, normal = begins[seat], normals[seat]
        for turn in PUSH_TURNS:
            along = _turned(-normal, turn)
            left, steps = _tried(trial, begin, along, pose)
            if left < corner_distance(pose):
                way = _way(disc, begin, pose, normal)
                length = sum(float(np.linalg.norm(b - a)) for a, b in pairwise([disc, *way]))
                cost = left + PER_PIXEL * length + WHIM * corner_distance(pose) * random.random()
                found.append(_Push(begin, along, steps * PUSH, way, left, cost))
    best = [_exact(trial, push, pose) for push in sorted(found, key=lambda push: push.cost)[:4]]
    return min(best, key=lambda push: push.cost, default=None)


def _tried(trial: _Trial, begin: Array, along: Array, pose: Array) -> tuple[float, int]:
    """The least distance on the way of a long push, and the steps to it; it ends where it makes things worse."""
    places = [begin + along * PUSH * step for step in range(1, LONGEST + 1)]
    whole = [place for place in places if (place > DISC).all() and (place < ARENA_SIDE - DISC).all()]
    least, steps, worse, before = math.inf, 0, 0, corner_distance(pose)
    for step, left in enumerate(trial.after(begin, pose, whole), 1):
        if left < least:
            least, steps = left, step
        worse = worse + 1 if step > 3 and left > before - 0.05 else 0
        before = left
        if worse == 2:
            break
    return least, steps


def _exact(trial: _Trial, push: _Push, pose: Array) -> _Push:
    """The same push as far as is best, when the disc comes to rest at its end."""
    pushes = []
    for length in push.length - np.arange(0.0, 34.0, 4.0):
        if length > PUSH_GAP:
            shorter = replace(push, length=float(length))
            *_, left = trial.after(push.begin, pose, _strokes(shorter))
            pushes.append(replace(shorter, left=left, cost=push.cost - push.left + left))
    return min(pushes, key=lambda each: each.cost)


def _strokes(push: _Push) -> list[Array]:
    """Where the disc shall be, step by step in a push, and while it comes to rest."""
    count = max(math.ceil(push.length / PUSH), 1)
    places = [push.begin + push.along * push.length * step / count for step in range(1, count + 1)]
    return [*places, places[-1], places[-1]]


def _walk(disc: Array, way: Sequence[Array]) -> list[Array]:
    """Where the disc shall be, step by step on a way, and while it comes to rest."""
    places = []
    for a, b in pairwise([disc, *way]):
        count = max(math.ceil(float(np.linalg.norm(b - a)) / WALK), 1)
        places += [a + (b - a) * step / count for step in range(1, count + 1)]
    return [*places, places[-1], places[-1]]


def _way(disc: Array, begin: Array, pose: Array, normal: Array) -> list[Array]:
    """To the beginning of a push without touching the block: straight, or round it on a circle."""
    before = begin + OFF * normal
    line = disc + (before - disc) * np.linspace(0, 1, 24)[2:, None]
    if _clearance(line, pose).min() > DISC + 2.5:
        return [before, begin]
    centre = place_points(np.array([[0.0, 50.0]]), pose)[0]
    inward = (begin - centre) @ normal
    reach = -inward + math.sqrt(max(inward**2 - (begin - centre) @ (begin - centre) + ROUND**2, 0.0))
    entry = begin + max(reach, 0.0) * normal
    first, last = (math.atan2(*(place - centre)[::-1]) for place in (disc, entry))
    arc = (last - first + math.pi) % (2 * math.pi) - math.pi
    angles = np.linspace(first, first + arc, max(int(abs(arc) / 0.35), 1) + 1)
    ring = [centre + ROUND * np.array([math.cos(angle), math.sin(angle)]) for angle in angles]
    return [*(np.clip(place, *DISC_ROOM) for place in (*ring, entry)), begin]


def _clearance(points: Array, pose: Array) -> Array:
    """Distance of points `(N, 2)` from the block's outline, negative inside."""
    corners = place_points(BLOCK_OUTLINE, pose)
    distances = []
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distances.append(np.linalg.norm(points - a - share[:, None] * (b - a), axis=1))
    x, y = place_points(points - pose[:2], np.array([0.0, 0.0, -pose[2]])).T
    bar = (abs(x) < 60) & (y > 0) & (y < 30)
    stem = (abs(x) < 15) & (y > 0) & (y < 120)
    nearest = np.min(distances, 0)
    return np.asarray(np.where(bar | stem, -nearest, nearest))


def _turned(vector: Array, angle: float) -> Array:
    return np.asarray(place_points(vector[None], np.array([0.0, 0.0, angle]))[0])
