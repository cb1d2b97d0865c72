"""CountedEvaluate: the `evaluate` that methods are given; it counts rounds and evaluations, and takes their time."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from forerun.engine.backends.base import Backend, Call
from forerun.engine.rounds import RoundTiming
from forerun.engine.rows import Problem


class CountedEvaluate:
    """Calls the backend. See `forerun.engine.methods.base.Evaluate`."""

    def __init__(self, problem: Problem, backend: Backend) -> None:
        self._problem = problem
        self._backend = backend
        self._returned = time.perf_counter()
        self._open: list[tuple[int, Callable[[], RoundTiming]]] = []

    def __call__(self, steps: Tensor, inputs: Tensor, call: Call | None = None, cost: int = 1) -> Tensor:
        overhead = time.perf_counter() - self._returned
        outputs, timing = self._backend.evaluate(call or self._problem.evaluate, steps, inputs, overhead)
        self._open.append((cost * len(steps), timing))
        self._returned = time.perf_counter()
        return outputs

    def take(self) -> tuple[int, int, RoundTiming]:
        """Rounds, evaluations and time since the last take; the outputs must be in use, as reading may wait."""
        taken, self._open = self._open, []
        return len(taken), sum(count for count, _ in taken), sum((timing() for _, timing in taken), RoundTiming())
