"""CountedMap: the map as the methods of a run call it, on its backend, counted and timed."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.backends import Backend
from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.map_rows import MapRows
from forerun.engine.rounds import RoundTiming
from forerun.engine.search.state import LimitState
from forerun.engine.tolerance import Tolerance


class CountedMap:
    """The problems of a map that go on, evaluated together; see `forerun.engine.limit_methods.base.MapTools`.

    Attributes:
        problems: int64 `(A,)`, those that the rows of points belong to.
        evaluations: so far.
        timing: of them.
    """

    def __init__(self, rows: MapRows, backend: Backend, tolerance: Tolerance) -> None:
        self.rows = rows
        self.problems = torch.arange(rows.count, device=rows.device)
        self.evaluations = 0
        self.timing = RoundTiming()
        self._resting = rows.first_points  # the points of problems that have ended, where all must be evaluated
        self._evaluate = CountedEvaluate(rows, backend)
        self._tolerance = tolerance

    def evaluate(self, points: Tensor) -> Tensor:
        if self.rows.can_select:
            values = self._evaluate(self.problems, points)
        else:
            everywhere = self._spread(points)
            values = self._evaluate(self.problems.new_zeros(1), everywhere.unsqueeze(0))[0][self.problems]
        self._count_evaluation()
        return values

    def apply_jacobian(self, points: Tensor, directions: Tensor) -> Tensor:
        if self.rows.can_select:
            pairs = torch.cat([points, directions], -1)
            derivatives = self._evaluate(self.problems, pairs, call=self.rows.differentiate)
        else:
            spread = torch.zeros_like(self._resting).index_copy(0, self.problems, directions)
            pairs = torch.cat([self._spread(points), spread], -1).unsqueeze(0)
            zero = self.problems.new_zeros(1)
            derivatives = self._evaluate(zero, pairs, call=self.rows.differentiate)[0][self.problems]
        self._count_evaluation()
        return derivatives

    def measure(self, moves: Tensor, points: Tensor) -> Tensor:
        return self._tolerance.norm(self.problems, moves, points)

    def select(self, state: LimitState) -> None:
        """Take the problems that go on in a state; the others rest where they ended."""
        self.problems = state.problems
        self._resting = state.ended.points

    def _count_evaluation(self) -> None:
        totals = self._evaluate.take_totals()
        self.evaluations += totals.rounds
        self.timing += totals.timing

    def _spread(self, points: Tensor) -> Tensor:
        """Return the points of all problems `(B, D)`, those that have ended included."""
        if len(points) == self.rows.count:
            return points
        return self._resting.index_copy(0, self.problems, points)
