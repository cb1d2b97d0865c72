"""Points and distances from a limit, evaluation by evaluation: iterations are compared by these, not by residuals."""

from __future__ import annotations

from torch import Tensor

from forerun import fixed_point
from forerun.engine.limit_methods import LimitMethod, Plain
from forerun.engine.map import Map
from forerun.engine.search import LimitEvent

UNREACHED_TOLERANCE = 1e-300


def trace_distances(
    map: Map,
    x0: Tensor,
    limit: Tensor,
    *,
    method: LimitMethod,
    distance: float,
    max_evaluations: int = 60_000,
) -> list[float]:
    """Return the largest distance of an element from its limit at every point evaluated, until it is small enough.

    Args:
        map: of one tensor.
        x0: the first point.
        limit: of high accuracy.
        method: that is followed.
        distance: where the search ends.
        max_evaluations: that are allowed.
    """
    distances: list[float] = []

    def watch(event: LimitEvent) -> bool:
        distances.append(float((event.state - limit).abs().max()))
        return distances[-1] <= distance

    fixed_point(
        map,
        x0,
        method=method,
        tolerance=UNREACHED_TOLERANCE,
        callback=watch,
        max_evaluations=max_evaluations,
        repeatable=False,
        throw=False,
    )
    return distances


def trace_points(map: Map, x0: Tensor, evaluations: int) -> list[Tensor]:
    """Return the points of a plain iteration, the first among them, until it ends by itself.

    Args:
        map: of one tensor.
        x0: the first point.
        evaluations: that are allowed.
    """
    points: list[Tensor] = []
    fixed_point(
        map,
        x0,
        method=Plain(),
        tolerance=UNREACHED_TOLERANCE,
        callback=lambda event: points.append(event.state),
        max_evaluations=evaluations,
        repeatable=False,
        throw=False,
    )
    return points
