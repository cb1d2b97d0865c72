"""CountedEvaluate: the `evaluate` that methods and the check call; it counts, and takes the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

from torch import Tensor

from forerun.engine.backends.base import Backend, RowFunction, TimingReader
from forerun.engine.rounds import RoundTiming

_IS_APART: Final = ContextVar("forerun_is_apart", default=False)


def is_evaluated_apart() -> bool:
    """Return whether the present call of `Process.evaluate` is the check's own, apart from the rounds.

    A process that keeps what its rounds evaluated, for an adapter to look it up, keeps nothing of such a call.
    """
    return _IS_APART.get()


class EvaluationTotals(NamedTuple):
    """What some calls of evaluate amount to: rounds, evaluations, and their time; apart, that of the check's own."""

    rounds: int
    evaluations: int
    timing: RoundTiming
    apart: RoundTiming


class RowsEvaluator(Protocol):
    """What is evaluated in rows: a process, or a map."""

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs `(W, *batch, E)` of the inputs `(W, *batch, D)` of some steps, or problems."""


class CountedEvaluate:
    """A function that calls the backend; see `forerun.engine.methods.base.Evaluate`."""

    def __init__(self, problem: RowsEvaluator, backend: Backend) -> None:
        self._problem = problem
        self._backend = backend
        self._returned = time.perf_counter()
        self._evaluations: list[int] = []  # of each round since the last totals
        self._evaluations_apart = 0
        self._timings: list[TimingReader] = []
        self._timings_apart: list[TimingReader] = []

    def __call__(
        self,
        steps: Tensor,
        inputs: Tensor,
        call: RowFunction | None = None,
        cost: int = 1,
    ) -> Tensor:
        overhead = time.perf_counter() - self._returned
        outputs, read_timing = self._backend.evaluate(call or self._problem.evaluate, steps, inputs, overhead)
        self._evaluations.append(cost * len(steps))
        self._timings.append(read_timing)
        self._returned = time.perf_counter()
        return outputs

    def evaluate_apart(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Evaluate a few steps for the check: counted as evaluations, but as no round, and in the time of none."""
        start_time = time.perf_counter()
        token = _IS_APART.set(True)
        try:
            outputs, read_timing = self._backend.evaluate(self._problem.evaluate, steps, inputs, 0.0)
        finally:
            _IS_APART.reset(token)
        self._timings_apart.append(read_timing)
        self._evaluations_apart += len(steps)
        self._returned += time.perf_counter() - start_time
        return outputs

    def take_apart(self) -> int:
        """Return the evaluations apart since the last call of this."""
        count, self._evaluations_apart = self._evaluations_apart, 0
        return count

    def take_totals(self) -> EvaluationTotals:
        """Return the totals since the last call of this; the outputs must be in use, as reading a time may wait."""
        evaluations, self._evaluations = self._evaluations, []
        timings, self._timings = self._timings, []
        timings_apart, self._timings_apart = self._timings_apart, []
        return EvaluationTotals(len(evaluations), sum(evaluations), _sum_timings(timings), _sum_timings(timings_apart))


def _sum_timings(timings: Sequence[TimingReader]) -> RoundTiming:
    return sum((read_timing() for read_timing in timings), RoundTiming())
