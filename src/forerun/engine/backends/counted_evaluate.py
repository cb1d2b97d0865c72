"""CountedEvaluate: the `evaluate` that methods and the check call; it counts, and takes the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

from torch import Tensor

from forerun.engine.backends.base import Backend, RowFunction, SecondsReader, TimingReader
from forerun.engine.methods.evaluations import OrderedSteps
from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.rounds import RoundTiming

NO_TIME: Final = RoundTiming()
_IS_APART: Final = ContextVar("forerun_is_apart", default=False)


def is_evaluated_apart() -> bool:
    """Return whether the present call of `Process.evaluate` is the check's own, apart from the rounds.

    A process that keeps what its rounds evaluated, for an adapter to look it up, keeps nothing of such a call.
    """
    return _IS_APART.get()


class EvaluationTotals(NamedTuple):
    """What some calls of evaluate amount to.

    Attributes:
        rounds: how many calls, one after another.
        evaluations: steps evaluated in them.
        timing: their time.
        apart: time of the check's own calls.
        single: seconds of one of several calls, or of a step of the plain loop, the first left out; None where there
            was only one.
    """

    rounds: int
    evaluations: int
    timing: RoundTiming
    apart: RoundTiming
    single: float | None


class RowsEvaluator(Protocol):
    """What is evaluated in rows: a process, or a map."""

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs `(W, *batch, E)` of the inputs `(W, *batch, D)` of some steps, or problems."""


class CountedEvaluate:
    """A function that calls the backend; see `forerun.engine.methods.base.Evaluate`."""

    def __init__(self, problem: RowsEvaluator, backend: Backend) -> None:
        self._problem = problem
        self._backend = backend.begin_run()
        self._returned = time.perf_counter()
        self._loading_seconds = NATIVE_KERNELS.loading_seconds
        self._evaluations: list[int] = []  # of each round since the last totals
        self._evaluations_apart = 0
        self._timings: list[TimingReader] = []
        self._timings_apart: list[TimingReader] = []
        self._read_single: SecondsReader | None = None

    def __call__(
        self,
        steps: Tensor,
        inputs: Tensor,
        call: RowFunction | None = None,
        cost: int = 1,
    ) -> Tensor:
        overhead = self._read_overhead()
        outputs, read_timing = self._backend.evaluate(call or self._problem.evaluate, steps, inputs, overhead)
        self._evaluations.append(cost * len(steps))
        self._timings.append(read_timing)
        self._returned = time.perf_counter()
        return outputs

    def take_in_order(self, walk: OrderedSteps) -> bool:
        """Take steps in order on this device; see `Evaluate`."""
        stop_first = self._backend.start_walk(walk.device)
        if stop_first is None:
            return False
        overhead = self._read_overhead()
        walk.take_first()
        read_first = stop_first()
        stop_others = self._backend.start_walk(walk.device)
        assert stop_others is not None, "a backend that lets a loop run lets it run on"
        walk.take_others(lambda: stop_others()())
        read_others = stop_others()
        count = walk.count
        self._evaluations.extend([1] * count)
        self._timings.append(lambda: RoundTiming(evaluate=read_first() + read_others(), overhead=overhead))
        if count > 1:
            self._read_single = lambda: read_others() / (count - 1)
        self._returned = time.perf_counter()
        return True

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

    def _read_overhead(self) -> float:
        """Return the seconds since the last call returned, without those in which native kernels were loaded."""
        loading_seconds, self._loading_seconds = self._loading_seconds, NATIVE_KERNELS.loading_seconds
        overhead = time.perf_counter() - self._returned - (self._loading_seconds - loading_seconds)
        return max(overhead, 0.0)

    def take_apart(self) -> int:
        """Return the evaluations apart since the last call of this."""
        count, self._evaluations_apart = self._evaluations_apart, 0
        return count

    def take_totals(self) -> EvaluationTotals:
        """Return the totals since the last call of this; the outputs must be in use, as reading a time may wait."""
        evaluations, self._evaluations = self._evaluations, []
        timings = [read_timing() for read_timing in self._timings]
        apart = [read_timing() for read_timing in self._timings_apart]
        read_single, self._read_single = self._read_single, None
        self._timings, self._timings_apart = [], []
        single = _measure_single(timings)
        if read_single is not None:
            single = read_single()
        return EvaluationTotals(
            rounds=len(evaluations),
            evaluations=sum(evaluations),
            timing=_add_timings(timings),
            apart=_add_timings(apart),
            single=single,
        )


def _add_timings(timings: Sequence[RoundTiming]) -> RoundTiming:
    """Return the sum; most rounds are one call."""
    return timings[0] if len(timings) == 1 else sum(timings, NO_TIME)


def _measure_single(timings: Sequence[RoundTiming]) -> float | None:
    """Return the mean time of several calls, without the first, which may be cold; None where there are not as many."""
    if len(timings) < 2:
        return None
    return sum(timing.total for timing in timings[1:]) / (len(timings) - 1)
