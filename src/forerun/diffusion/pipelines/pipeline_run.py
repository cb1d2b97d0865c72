"""PipelineRun: what `parallel` yields, with the solution of every loop that a pipeline ran inside of it."""

from __future__ import annotations

from typing import Any, final

from torch import nn

from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.hooks import PipelineObserver
from forerun.diffusion.pipelines.pipeline_loop import PipelineLoop
from forerun.diffusion.pipelines.watched_method import PendingCall
from forerun.engine.options import SolveOptions
from forerun.engine.solution import Solution


@final
class PipelineRun(PipelineObserver):
    """What `parallel` yields: the runs of a pipeline inside of it."""

    def __init__(self, pipe: Any, options: SolveOptions) -> None:
        self._pipe = pipe
        self._options = options
        self._finished: list[Solution] = []
        self._loop: PipelineLoop | None = self._open_loop()

    @property
    def solutions(self) -> list[Solution]:
        """One solution for every loop so far."""
        if self._loop is None or self._loop.solution is None:
            return self._finished
        return [*self._finished, self._loop.solution]

    @property
    def solution(self) -> Solution | None:
        """Solution of the last loop; None before the first has begun."""
        solutions = self.solutions
        return solutions[-1] if solutions else None

    def finish(self) -> None:
        """Keep the solutions, and nothing else of what was seen."""
        self._finished = self.solutions
        self._loop = None

    def begin_loop(self, scheduler: Any) -> None:
        self._finished = self.solutions
        self._loop = self._open_loop()

    def record_noising(self, noising: NoisingCall) -> None:
        self._current_loop.record_noising(noising)

    def call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        return self._current_loop.call_network(name, network, call)

    def step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        return self._current_loop.step_scheduler(scheduler, call)

    @property
    def _current_loop(self) -> PipelineLoop:
        if self._loop is None:
            self._loop = self._open_loop()
        return self._loop

    def _open_loop(self) -> PipelineLoop:
        return PipelineLoop(self._pipe, self._options)
