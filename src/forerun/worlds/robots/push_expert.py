"""The expert of Push-T: it tries pushes in a simulation of its own, and does the one that brings the T nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from forerun.worlds.robots.experts import Expert, ExpertActor
from forerun.worlds.robots.path_rules import Array
from forerun.worlds.robots.push_routes import (
    DISC_RADIUS,
    DISC_ROOM,
    PUSH_STEP,
    block_clearance,
    plan_route,
    push_places,
    route_length,
    travel_places,
)
from forerun.worlds.robots.push_simulation import PushSimulation, corner_distance
from forerun.worlds.robots.push_t import ARENA_SIDE, BLOCK_OUTLINE, place_points

PUSH_GAP: Final = 6.0  # between disc and edge before a push
MAX_PUSH_STEPS: Final = 9
PUSH_TURNS: Final = (-0.4, 0.0, 0.4)  # directions of a push, from the edge's normal, radians
SEAT_SPACING: Final = 14.0  # between the places on an edge where a push may begin
CORNER_MARGIN: Final = 6.0  # distance of those places from the ends of the edge
COST_PER_PIXEL: Final = 0.02  # what a pixel of travel is worth, in pixels of distance to the goal
COST_NOISE: Final = 0.1  # of the distance to the goal: a push so little worse than the best may be done instead
REFINED_PUSHES: Final = 4  # the best pushes, whose length is chosen again with the disc coming to rest
SHORTENINGS: Final = np.arange(0.0, 34.0, 4.0)  # pixels by which a push is shortened then
PATIENCE: Final = 2  # steps in a row that a tried push may go without helping
LEAST_HELP: Final = 0.05  # pixels a step


@dataclass(frozen=True)
class PushPlan:
    """A push that was tried.

    Attributes:
        start: the disc's place before it, `(2,)`.
        direction: unit vector, `(2,)`.
        length: pixels.
        route: places on the way there from where the disc is, `start` last.
        remaining: mean distance of the corners to their places after it.
        cost: of it and the route.
    """

    start: Array
    direction: Array
    length: float
    route: Sequence[Array]
    remaining: float
    cost: float

    @property
    def places(self) -> list[Array]:
        """Where the disc is to be, step by step."""
        return push_places(self.start, self.direction, self.length)


@final
@dataclass(frozen=True)
class PushExpert(Expert):
    """Pushes straight at an edge, again and again, each time where a simulation says that it helps most.

    Without damping the block lies still unless it is pushed, so a push can be tried on its own. Greedy, by the
    mean distance of the block's corners to their places.
    """

    def begin_episode(self, rng: np.random.Generator) -> ExpertActor:
        simulation = PushSimulation()
        queue: list[Array] = []

        def act(scene: Array, features: Array) -> Array:
            if not queue:
                queue.extend(_plan_places(simulation, scene[:2], scene[2:], rng))
            return queue.pop(0)

        return act


def _plan_places(
    simulation: PushSimulation,
    disc: Array,
    pose: Array,
    rng: np.random.Generator,
) -> list[Array]:
    """Return where the disc is to be in the coming steps: to the best push and through it; still, where none helps."""
    push = _choose_push(simulation, disc, pose, rng)
    if push is None:
        return [disc]
    return [*travel_places(disc, push.route), *push.places]


def _push_seats() -> tuple[Array, Array]:
    """Return places on the outline where a push may begin, and the outward normals there, `(N, 2)` each."""
    places = []
    normals = []
    for corner, neighbour in zip(BLOCK_OUTLINE, np.roll(BLOCK_OUTLINE, -1, 0), strict=True):
        length = float(np.linalg.norm(neighbour - corner))
        tangent = (neighbour - corner) / length
        count = max(round((length - 2 * CORNER_MARGIN) / SEAT_SPACING), 1) + 1
        for distance in np.linspace(CORNER_MARGIN, length - CORNER_MARGIN, count):
            places.append(corner + distance * tangent)
            normals.append([tangent[1], -tangent[0]])
    return np.array(places), np.array(normals)


SEATS, SEAT_NORMALS = _push_seats()


def _choose_push(
    simulation: PushSimulation,
    disc: Array,
    pose: Array,
    rng: np.random.Generator,
) -> PushPlan | None:
    """Return the push to do next; None where none helps."""
    normals = place_points(SEAT_NORMALS, np.array([0.0, 0.0, pose[2]]))
    starts = place_points(SEATS, pose) + (DISC_RADIUS + PUSH_GAP) * normals
    in_room = (starts > DISC_ROOM[0]).all(1) & (starts < DISC_ROOM[1]).all(1)
    is_free = block_clearance(starts, pose) > DISC_RADIUS + 2
    distance = corner_distance(pose)
    plans = []
    for seat in np.flatnonzero(is_free & in_room):
        start, normal = starts[seat], normals[seat]
        for turn in PUSH_TURNS:
            direction = _turn_vector(-normal, turn)
            remaining, steps = _try_push(simulation, start, direction, pose)
            if remaining < distance:
                route = plan_route(disc, start, pose, normal)
                travel_cost = COST_PER_PIXEL * route_length(disc, route)
                cost = remaining + travel_cost + COST_NOISE * distance * rng.random()
                plans.append(
                    PushPlan(
                        start,
                        direction,
                        steps * PUSH_STEP,
                        route,
                        remaining,
                        cost,
                    )
                )
    plans.sort(key=_plan_cost)
    refined = [_refine_length(simulation, plan, pose) for plan in plans[:REFINED_PUSHES]]
    return min(refined, key=_plan_cost, default=None)


def _plan_cost(plan: PushPlan) -> float:
    return plan.cost


def _try_push(
    simulation: PushSimulation,
    start: Array,
    direction: Array,
    pose: Array,
) -> tuple[float, int]:
    """Return the least distance in the course of a long push, and the steps to it.

    The push ends where it makes things worse.
    """
    steps = range(1, MAX_PUSH_STEPS + 1)
    places = [start + direction * PUSH_STEP * step for step in steps]
    places_inside = [place for place in places if _is_inside(place)]
    smallest = math.inf
    smallest_step = 0
    before = corner_distance(pose)
    useless = 0
    for step, distance in enumerate(simulation.follow(start, pose, places_inside), 1):
        if distance < smallest:
            smallest = distance
            smallest_step = step
        if step > 3 and distance > before - LEAST_HELP:
            useless += 1
        else:
            useless = 0
        before = distance
        if useless == PATIENCE:
            break
    return smallest, smallest_step


def _is_inside(place: Array) -> bool:
    return bool((place > DISC_RADIUS).all() and (place < ARENA_SIDE - DISC_RADIUS).all())


def _refine_length(simulation: PushSimulation, plan: PushPlan, pose: Array) -> PushPlan:
    """Return the same push as far as is best, when the disc comes to rest at its end."""
    plans = []
    for length in plan.length - SHORTENINGS:
        if length > PUSH_GAP:
            shorter = replace(plan, length=float(length))
            *_, remaining = simulation.follow(plan.start, pose, shorter.places)
            cost = plan.cost - plan.remaining + remaining
            plans.append(replace(shorter, remaining=remaining, cost=cost))
    return min(plans, key=_plan_cost)


def _turn_vector(vector: Array, angle: float) -> Array:
    return np.asarray(place_points(vector[None], np.array([0.0, 0.0, angle]))[0])
