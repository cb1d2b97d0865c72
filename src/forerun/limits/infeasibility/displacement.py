"""Displacements: how fast the residual and the travel of an iteration without a fixed point settle."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Halpern, LimitMethod
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import LimitEvent

TRACE_FLOOR = 1e-14  # residual at which a trace would end


@final
@dataclass(frozen=True)
class ShiftedRotation(Map):
    """Planes turned by angles of their own, averaged with the identity, and one that is shifted: no fixed point.

    The map is firmly nonexpansive, and its infimal displacement `T(x) - x` is the shift. Angles close to zero make it
    as slow as such maps can be.

    Args:
        angles: `(P,)`; a state has the shape `(P, 2)`.
        shift: `(P, 2)`, zero but where the angle is zero.
    """

    angles: Tensor
    shift: Tensor

    @classmethod
    def draw(
        cls,
        planes: int,
        seed: int,
    ) -> ShiftedRotation:
        """Return a map of planes whose angles are spread evenly over a half turn; the first is shifted by 1."""
        generator = torch.Generator().manual_seed(seed)
        angles = pi * torch.rand(planes, generator=generator, dtype=torch.float64)
        angles[0] = 0.0
        shift = torch.zeros(planes, 2, dtype=torch.float64)
        shift[0, 0] = 1.0
        return cls(angles, shift)

    def evaluate(self, state: Tree) -> Tree:
        cosines, sines = self.angles.cos(), self.angles.sin()
        first, second = state.unbind(-1)
        turned = torch.stack([cosines * first - sines * second, sines * first + cosines * second], -1)
        return (state + turned) / 2 + self.shift


def trace_displacement(
    map: Map,
    x0: Tensor,
    method: LimitMethod,
    points: int,
    *,
    displacement: Tensor,
) -> Tensor:
    """Return squared distances from the infimal displacement, `(points, 2)`: of the residual, and of the travel.

    The travel is `(x_k - x_0) / k`, twice that for `Halpern`, whose points go half as fast.

    Args:
        map: without a fixed point.
        x0: the first point, one tensor.
        method: `Plain()`, or `Halpern(restart=0)`.
        points: how many; the search may end before, once residuals no longer change.
        displacement: `T(x) - x` where it is smallest, like `x0`.
    """
    distances: list[tuple[float, float]] = []
    speed = 2 if isinstance(method, Halpern) else 1

    def note_point(event: LimitEvent) -> None:
        point = event.read_state()
        residual = map.evaluate(point) - point
        travel = speed * (point - x0) / max(len(distances), 1)
        distances.append((squared_distance(residual, displacement), squared_distance(travel, displacement)))

    fixed_point(
        map,
        x0,
        method=method,
        tolerance=TRACE_FLOOR,
        max_evaluations=points,
        callback=note_point,
        repeatable=False,
        throw=False,
    )
    return torch.tensor(distances, dtype=torch.float64)


def squared_distance(first: Tensor, second: Tensor) -> float:
    """Return the sum of the squares of a difference."""
    return float((first - second).square().sum())


def measure_slope(errors: Tensor, begin: int) -> float:
    """Return the slope of the upper envelope of errors `(K,)` over their number, both in logarithms.

    Args:
        errors: positive.
        begin: how many of the first are left out.
    """
    envelope = errors.flip(0).cummax(0).values.flip(0)[begin:].log()
    steps = torch.arange(begin, len(errors), dtype=errors.dtype).log()
    centred = steps - steps.mean()
    return float((centred * envelope).sum() / centred.square().sum())
