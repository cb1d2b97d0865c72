"""FeynmanGraph: edges with masses and vertices with momenta, and its Symanzik polynomials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from forerun.exact.exact_libraries import load_sympy

MAX_EDGES = 6


@dataclass(frozen=True)
class FeynmanGraph:
    """A connected graph, with one Schwinger parameter an edge.

    Attributes:
        edges: pairs of vertices, `n` of them.
        masses: squared masses, one an edge: sympy expressions or numbers.
        channels: squared momenta by the set of external vertices on one side of a cut; the other side is the same cut.
        legs: the external vertices.
    """

    edges: tuple[tuple[int, int], ...]
    masses: tuple[Any, ...]
    channels: Mapping[frozenset[int], Any]
    legs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.edges or len(self.edges) > MAX_EDGES or len(self.masses) != len(self.edges):
            raise ValueError(
                f"got {len(self.edges)} edges and {len(self.masses)} masses; pass 1 to {MAX_EDGES} edges, and "
                "a squared mass for each"
            )
        if count_parts(self.edges, self.vertices) != 1:
            raise ValueError(f"the graph with the edges {self.edges} is not connected; pass its parts one by one")

    @property
    def vertices(self) -> set[int]:
        """All vertices."""
        return {vertex for edge in self.edges for vertex in edge} | set(self.legs)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The Schwinger parameters, sympy symbols `a1 .. an`."""
        return tuple(load_sympy().symbols(f"a1:{len(self.edges) + 1}"))

    def first_polynomial(self) -> Any:
        """Return U, the sum over spanning trees of the parameters of all edges that are cut."""
        return load_sympy().Add(*(self._cut_product(uncut) for uncut in self._forests(1)))

    def second_polynomial(self) -> Any:
        """Return F, `U sum m_e a_e - sum over 2-forests of the squared momentum between the trees times the cut`.

        Raises:
            ValueError: a squared momentum was not given.
        """
        sympy, terms = load_sympy(), []
        for forest in self._forests(2):
            terms.append(-self._channel_of(forest) * self._cut_product(forest))
        masses = sympy.Add(*(mass * a for mass, a in zip(self.masses, self.parameters, strict=True)))
        return sympy.expand(self.first_polynomial() * masses + sympy.Add(*terms))

    def sum_polynomial(self) -> Any:
        """Return `G = U + F`, expanded."""
        return load_sympy().expand(self.first_polynomial() + self.second_polynomial())

    def kinematics(self) -> list[Any]:
        """Return the symbols of masses and momenta."""
        symbols = self.sum_polynomial().free_symbols - set(self.parameters)
        return sorted(symbols, key=str)

    def _forests(self, parts: int) -> list[tuple[int, ...]]:
        """Return the sets of edges that are forests of some trees: as many edges fewer than vertices."""
        size = len(self.vertices) - parts
        choices = combinations(range(len(self.edges)), size) if size >= 0 else []
        return [uncut for uncut in choices if count_parts([self.edges[e] for e in uncut], self.vertices) == parts]

    def _cut_product(self, uncut: Sequence[int]) -> Any:
        sympy = load_sympy()
        return sympy.Mul(*(a for edge, a in enumerate(self.parameters) if edge not in uncut))

    def _channel_of(self, forest: Sequence[int]) -> Any:
        """Return the squared momentum between the two trees of a forest; zero where one has no external vertex."""
        tree = reach_vertices([self.edges[e] for e in forest], min(self.vertices))
        side = frozenset(tree & set(self.legs))
        other = frozenset(set(self.legs) - side)
        if not side or not other:
            return 0
        for key in (side, other):
            if key in self.channels:
                return self.channels[key]
        raise ValueError(
            f"the squared momentum of the legs {sorted(side)} is missing; add frozenset({set(side)}) to channels, "
            "with 0 if it is massless"
        )


def reach_vertices(edges: Sequence[tuple[int, int]], start: int) -> set[int]:
    """Return the vertices that edges join to one."""
    reached, count = {start}, 0
    while count < len(reached):
        count = len(reached)
        for first, second in edges:
            if first in reached or second in reached:
                reached |= {first, second}
    return reached


def count_parts(edges: Sequence[tuple[int, int]], vertices: set[int]) -> int:
    """Return the number of connected parts of some edges over all vertices."""
    parts, waiting = 0, set(vertices)
    while waiting:
        waiting -= reach_vertices(edges, min(waiting))
        parts += 1
    return parts


def one_loop_graph(
    masses: Sequence[Any],
    channels: Mapping[frozenset[int], Any],
) -> FeynmanGraph:
    """Return the polygon with an edge a mass, vertex i between edge i - 1 and edge i, and a leg at each."""
    size = len(masses)
    edges = tuple((vertex, (vertex + 1) % size) for vertex in range(size))
    return FeynmanGraph(edges, tuple(masses), channels, tuple(range(size)))


def banana_graph(masses: Sequence[Any], momentum: Any) -> FeynmanGraph:
    """Return two vertices joined by an edge a mass; with two it is the bubble, with three the sunrise."""
    return FeynmanGraph(((0, 1),) * len(masses), tuple(masses), {frozenset({0}): momentum}, (0, 1))


def parachute_graph(
    masses: Sequence[Any],
    channels: Mapping[frozenset[int], Any],
) -> FeynmanGraph:
    """Return a triangle with one edge doubled: edges 0-1, 1-2, 2-0, 2-0, and a leg at each vertex."""
    return FeynmanGraph(((0, 1), (1, 2), (2, 0), (2, 0)), tuple(masses), channels, (0, 1, 2))
