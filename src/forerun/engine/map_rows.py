"""MapRows: a map in rows, `(A, D)` in and `(A, D)` out, a row for each problem of its batch."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from forerun.engine.map import BatchMap, Map
from forerun.engine.numerics.autocast import call_as_user
from forerun.engine.numerics.in_place import ChangedInPlace, read_version
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree, describe_tree, tree_map, tree_tensors


class MapRows:
    """A map as methods see it: its problems side by side, each in a row.

    Attributes:
        map: the user's.
        batch: the batch axes of its states.
        layout: how one problem's state lies in a row.
        can_select: whether some problems can be evaluated without the others.
        first_points: the first state, `(B, D)`.
    """

    def __init__(self, user_map: Map, state: Tree) -> None:
        refuse_map(user_map, state)
        self.map = user_map
        dims = user_map.batch_dims
        self.batch = RowLayout.from_tree(state, batch_dims=dims, name="value").batch
        one_problem = tree_map(lambda leaf: leaf.new_empty(leaf.shape[dims:]), state)
        self.layout = RowLayout.from_tree(one_problem, batch_dims=0, name="value")
        self.can_select = isinstance(user_map, BatchMap)
        self.first_points = self._pack(state)

    @property
    def count(self) -> int:
        """Number of problems."""
        return prod(self.batch)

    @property
    def device(self) -> torch.device:
        """Where the states lie."""
        return self.layout.device

    @property
    def epsilon(self) -> float:
        """The rounding of the coarsest tensor of a state."""
        return max(torch.finfo(dtype).eps for dtype in self.layout.dtypes)

    def unpack(self, points: Tensor) -> Tree:
        """Return the state of all problems, from their rows `(B, D)`."""
        return self.layout.unpack(points.reshape((*self.batch, self.layout.width)))

    def restore_batch(self, values: Tensor) -> Tensor:
        """Return values `(B, ...)`, one for each problem, with the batch axes of the state."""
        return values.reshape((*self.batch, *values.shape[1:]))

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return `T` in rows, as a backend calls it.

        Args:
            steps: the problems `(A,)`, where some can be selected; otherwise `(1,)`, for all together.
            inputs: their rows `(A, D)`, or those of all `(1, B, D)`.
        """
        if not self.can_select:
            return self.call_map(self.map, inputs[0], self.batch).unsqueeze(0)
        assert isinstance(self.map, BatchMap)
        return self.call_map(call_as_user(self.map.select, steps), inputs, steps.shape)

    def differentiate(self, steps: Tensor, pairs: Tensor) -> Tensor:
        """Return derivatives of `T` in rows, as a backend calls it.

        Args:
            steps: as for `evaluate`.
            pairs: rows of points with those of directions behind them, `(A, 2 D)`, or those of all `(1, B, 2 D)`.
        """
        points, directions = pairs.chunk(2, -1)
        if not self.can_select:
            return self._differentiate_map(self.map, points[0], directions[0], self.batch).unsqueeze(0)
        assert isinstance(self.map, BatchMap)
        some_map = call_as_user(self.map.select, steps)
        return self._differentiate_map(some_map, points, directions, steps.shape)

    def _differentiate_map(
        self,
        some_map: Map,
        points: Tensor,
        directions: Tensor,
        batch: torch.Size,
    ) -> Tensor:
        """Return the derivatives of a map at points along directions: the map's own, or torch's."""
        shape = (*batch, self.layout.width)
        state = self.layout.unpack(points.reshape(shape))
        derivative = call_as_user(some_map.linearise, state)
        if derivative is not None:
            along = call_as_user(derivative, self.layout.unpack(directions.reshape(shape)))
            return self.layout.pack(along, *batch).reshape(points.shape)

        def call_rows(rows: Tensor) -> Tensor:
            return self.call_map(some_map, rows, batch)

        try:
            derivatives: Tensor = torch.func.jvp(call_rows, (points,), (directions,))[1]
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                f"torch cannot differentiate this map in forward mode ({type(error).__name__}: {error}); give its "
                "derivative: Map.from_function(f, linearisation=lambda x: lambda v: ...), or take a method without "
                "derivatives, such as AndersonMixing()"
            ) from error
        return derivatives.to(points.dtype)  # torch widens those of single numbers

    def call_map(self, some_map: Map, points: Tensor, batch: torch.Size) -> Tensor:
        """Return the values of a map at points of a batch, and see to it that it changes none in place."""
        version = read_version(points)
        values = call_as_user(some_map.evaluate, self.layout.unpack(points.reshape((*batch, self.layout.width))))
        if read_version(points) != version:
            raise ChangedInPlace(
                "the map modified its argument in place; let it return new tensors, such as x * 0.5 for x.mul_(0.5), "
                "or begin with x = x.clone()"
            )
        return self.layout.pack(values, *batch).reshape(points.shape)

    def project(self, points: Tensor, problems: Tensor) -> Tensor:
        """Return the projections of the points `(A, D)` of some problems."""
        if type(self.map).project is Map.project:
            return points
        projected = self._call_with_state(self.map.project, points, problems)
        return self._pack(projected)[problems]

    def has_merit(self) -> bool:
        """Return whether the map has a merit."""
        return call_as_user(self.map.merit, self.unpack(self.first_points)) is not None

    def measure_merit(self, points: Tensor, problems: Tensor) -> Tensor:
        """Return the merits `(A,)` of the points `(A, D)` of some problems.

        Raises:
            ValueError: the map has none.
        """
        merit: Tensor | None = self._call_with_state(self.map.merit, points, problems)
        if merit is None:
            raise ValueError(
                "Monotone() needs a merit, and this map has none; pass Map.from_function(f, merit=objective), or "
                "leave the safeguard to the residual"
            )
        return self._take_numbers(merit, "merit")[problems].to(points.dtype)

    def measure_states(self, function: Callable[[Tree], Tensor], points: Tensor, problems: Tensor) -> Tensor:
        """Return the numbers `(A,)` that a function of the user's gives for the points `(A, D)` of some problems."""
        numbers = self._call_with_state(function, points, problems)
        return self._take_numbers(numbers, "gamma")[problems].to(points.dtype)

    def _take_numbers(self, numbers: Tensor, name: str) -> Tensor:
        """Return one number for each problem, `(B,)`."""
        if not isinstance(numbers, Tensor) or numbers.shape != self.batch:
            raise ValueError(
                f"{name} gave {describe_tree(numbers)}, but must give a tensor with one number for each problem, of "
                f"shape {list(self.batch)}; sum over the axes of the state alone"
            )
        return numbers.reshape(-1)

    def _call_with_state(self, function: Any, points: Tensor, problems: Tensor) -> Any:
        """Return what a function of the user's gives for a state in which some problems are at these points."""
        everywhere = self.first_points.index_copy(0, problems, points)
        return call_as_user(function, self.unpack(everywhere))

    def _pack(self, state: Tree) -> Tensor:
        return self.layout.pack(state, *self.batch).reshape(self.count, self.layout.width)


def refuse_map(user_map: Any, state: Tree) -> None:
    """Refuse what is not a map, or a state that no limit can be taken of.

    Raises:
        TypeError: it is not a `Map`, or the state holds whole numbers.
        ValueError: the batch of the map has axes that it cannot have.
    """
    if not isinstance(user_map, Map):
        raise TypeError(
            f"fixed_point takes a Map or a function of a state, got {type(user_map).__name__}; write "
            "fixed_point(lambda x: ..., x0)"
        )
    if isinstance(user_map, BatchMap) and user_map.batch_dims != 1:
        raise ValueError(
            f"a BatchMap has one batch axis, but this one says batch_dims = {user_map.batch_dims}; flatten the batch "
            "axes of the state to one, or derive from Map"
        )
    whole_numbers = [leaf for leaf in tree_tensors(state) if not (leaf.is_floating_point() or leaf.is_complex())]
    if whole_numbers:
        raise TypeError(
            f"the state {describe_tree(state)} holds whole numbers, between which there are no limits; carry them in "
            "the map, or pass x0.double()"
        )
