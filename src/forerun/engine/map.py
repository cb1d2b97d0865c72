"""Map: something whose fixed point is wanted, `x* = T(x*)`.

`evaluate` is all that a map must have. A projection keeps accelerated states where the map is defined, a merit says
which of two states is better, and a linearisation is the derivative where torch cannot find it by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from forerun.engine.numerics.tree import Tree

StateFunction = Callable[[Tree], Tree]
MeritFunction = Callable[[Tree], Tensor]
Linearisation = Callable[[Tree], StateFunction]  # (state) -> (direction -> derivative along it)


class Map(ABC):
    """A function from states to states, `T`.

    `batch_dims` leading axes of every tensor of the state count independent problems, which end one by one: the map
    must treat each by itself, as its residual is held against the tolerance by itself.
    """

    batch_dims: int = 0

    @abstractmethod
    def evaluate(self, state: Tree) -> Tree:
        """Return `T(state)`, of the structure, shapes, dtype and device of the state.

        Must be a pure function: the same state gives the same value, and nothing is changed in place.
        """

    def project(self, state: Tree) -> Tree:
        """Return the nearest state at which the map is defined; called for accelerated states alone."""
        return state

    def merit(self, state: Tree) -> Tensor | None:
        """Return a number `(*batch,)` that falls towards the limit, for `Monotone`; None where there is none."""
        return None

    def linearise(self, state: Tree) -> StateFunction | None:
        """Return the function that takes a direction to the derivative of the map along it; None lets torch find it."""
        return None

    @staticmethod
    def from_function(
        function: StateFunction,
        *,
        batch_dims: int = 0,
        projection: StateFunction | None = None,
        merit: MeritFunction | None = None,
        linearisation: Linearisation | None = None,
    ) -> Map:
        """Return the map of a plain function `x -> T(x)`.

        Args:
            function: takes a state and returns one like it.
            batch_dims: leading axes that count independent problems.
            projection: see `Map.project`.
            merit: see `Map.merit`.
            linearisation: takes a state and returns the function of `Map.linearise`.
        """
        return FunctionMap(function, batch_dims, projection, merit, linearisation)


class BatchMap(Map):
    """A map of a batch of problems, of which some can be evaluated without the others.

    Problems that have ended are then left out of every call, `Local(max_batch=...)` bounds the problems of one, and
    `Distributed` splits them over its ranks. Its batch has one axis.
    """

    batch_dims: int = 1

    @abstractmethod
    def select(self, problems: Tensor) -> Map:
        """Return the map of some problems, int64 `(A,)`, with whatever belongs to each of them: `data[problems]`."""


@final
@dataclass(frozen=True)
class FunctionMap(Map):
    """The map of a plain function; see `Map.from_function`."""

    function: StateFunction
    batch_dims: int = 0
    projection: StateFunction | None = None
    merit_function: MeritFunction | None = None
    linearisation: Linearisation | None = None

    def evaluate(self, state: Tree) -> Tree:
        return self.function(state)

    def project(self, state: Tree) -> Tree:
        return state if self.projection is None else self.projection(state)

    def merit(self, state: Tree) -> Tensor | None:
        return None if self.merit_function is None else self.merit_function(state)

    def linearise(self, state: Tree) -> StateFunction | None:
        return None if self.linearisation is None else self.linearisation(state)
