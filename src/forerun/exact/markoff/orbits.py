"""Orbits: labels that fall to the first point of each orbit, a monotone map whose limit is exact; or breadth first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.exact.markoff.surface import MarkoffSurface, SurfacePoints


@final
class LabelMap(Map):
    """One round of label propagation; its limit gives every point the smallest row of its orbit.

        l <- min(l, l[P_1], l[P_2], l[P_3]);   the row that was the label gets the smallest of those;   l <- l[l]

    Labels only fall, so that the limit is reached after finitely many rounds and is exact. Without the last two lines
    labels walk one edge a round.

    Args:
        images: int64 `(G, N)`, to which row each permutation takes a row.
        jumps: whether labels jump; otherwise they walk.
    """

    def __init__(self, images: Tensor, *, jumps: bool = True) -> None:
        self.images = images
        self.jumps = jumps

    def evaluate(self, state: Tree) -> Tree:
        labels = state.long()
        smallest = torch.minimum(labels, labels[self.images].amin(0))
        if self.jumps:
            hooked = smallest.scatter_reduce(0, labels, smallest, "amin")
            smallest = hooked[hooked]
        return smallest.to(state.dtype)


@dataclass(frozen=True)
class OrbitPartition:
    """The orbits of the involutions on a surface.

    Attributes:
        points: of the surface.
        labels: int64 `(N,)`, the first row of the orbit of every point.
        sizes: of the orbits apart from the origin, the smallest first.
        rounds: evaluations of the map, or layers of the breadth first search, one after another.
        certified: whether labels were found to be equal along every involution, and to be points of their own orbit.
        limit: how the labels were found; None for the breadth first search.
    """

    points: SurfacePoints
    labels: Tensor
    sizes: list[int]
    rounds: int
    certified: bool
    limit: Limit | None

    @property
    def value(self) -> Tensor:
        """The labels."""
        return self.labels

    @property
    def fixed_points(self) -> int:
        """How many points besides the origin are an orbit by themselves."""
        return self.sizes.count(1)

    @property
    def is_divisible(self) -> bool:
        """Whether p divides the size of every orbit apart from the origin."""
        return all(size % self.points.surface.prime == 0 for size in self.sizes)


def find_orbits(
    surface: MarkoffSurface | SurfacePoints,
    *,
    jumps: bool = True,
    options: LimitOptions | None = None,
    **keywords: Unpack[LimitKeywords],
) -> OrbitPartition:
    """Find the orbits of the three involutions, by labels that fall to their limit.

    Args:
        surface: or its points.
        jumps: whether labels jump along labels, in rounds like the logarithm of the size; otherwise they walk along
            edges, in as many as the longest of the shortest paths.
        options: how the limit is searched; the plain iteration by default, since the map is piecewise constant.
        keywords: the options one by one.

    Raises:
        NoLimit: `max_evaluations` were not enough.
        ValueError: the method mixes labels, which have no mean.
    """
    points = surface.find_points() if isinstance(surface, MarkoffSurface) else surface
    settings = LimitOptions.gather(options, keywords).over(LimitOptions(method=Plain(), tolerance=0.0))
    if not isinstance(settings.method, Plain):
        raise ValueError(f"{settings.method} mixes labels, which are names and have no mean; leave out method=")
    first = torch.arange(len(points), dtype=torch.float64)
    limit = fixed_point(LabelMap(points.images, jumps=jumps), first, options=settings)
    return collect_orbits(points, limit.state.long(), limit.evaluations, limit)


def walk_orbits(surface: MarkoffSurface | SurfacePoints) -> OrbitPartition:
    """Find the orbits one after another, breadth first: the search that labels are tested against."""
    points = surface.find_points() if isinstance(surface, MarkoffSurface) else surface
    labels = torch.full((len(points),), -1)
    layers = 0
    for row in range(len(points)):
        if labels[row] >= 0:
            continue
        front = torch.tensor([row])
        while len(front):
            labels[front] = row
            layers += 1
            neighbours = points.images[:, front].flatten().unique()
            front = neighbours[labels[neighbours] < 0]
    return collect_orbits(points, labels, layers, None)


def collect_orbits(
    points: SurfacePoints,
    labels: Tensor,
    rounds: int,
    limit: Limit | None,
) -> OrbitPartition:
    """Return the partition of labels, certified where they are those of the orbits."""
    counts = labels.bincount(minlength=len(points))
    sizes = sorted(counts[1:][counts[1:] > 0].tolist())  # the origin is row 0
    agrees = bool((labels[points.images] == labels).all()) and bool((labels[labels] == labels).all())
    return OrbitPartition(
        points,
        labels,
        sizes,
        rounds,
        agrees,
        limit,
    )
