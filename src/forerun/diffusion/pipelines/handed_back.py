"""HandedBackLoop: the steps that a pipeline takes by itself from where its solve declined, and their drift."""

from __future__ import annotations

from typing import Any, Final, final

from torch import Tensor

from forerun.diffusion.pipelines.calls import widen
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.diffusion.schedulers.step_signature import bind_step
from forerun.engine.adopted_steps import adopt_steps, carries_drift, judge_adopted
from forerun.engine.numerics.tree import Tree
from forerun.engine.run import SolveRun
from forerun.engine.solution import Solution

WAITING_STATES: Final = 64  # that are kept before the run takes them over


@final
class HandedBackLoop:
    """The steps that a pipeline takes by itself, in its own loop, from where its solve declined.

    Args:
        run: the solve, where it declined.
        process: that it solved.
    """

    def __init__(self, run: SolveRun, process: SchedulerSampling) -> None:
        self._run = run
        self._process = process
        self._carries_drift = carries_drift(run)
        self._step = self.start
        self._states: list[Tree] = []

    @property
    def start(self) -> int:
        """The step from which on the pipeline goes by itself, or would."""
        return self._run.state.window.start

    def record_step(self, scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the state before a step that the pipeline is about to take."""
        if not self._carries_drift:
            return
        arguments = bind_step(scheduler, args, kwargs)
        self._record_state(scheduler, arguments["sample"])
        if len(self._states) > WAITING_STATES:
            self._adopt_states()

    def finish_step(self, scheduler: Any, next_sample: Tensor) -> Solution | None:
        """Count a step; after the last one, return what the solve comes to."""
        self._step += 1
        if self._step < self._process.length:
            return None
        self._record_state(scheduler, next_sample)
        self._adopt_states()
        return judge_adopted(self._run)

    def _record_state(self, scheduler: Any, sample: Tensor) -> None:
        self._states.append(self._process.read_state(self._step, scheduler, widen(sample)))

    def _adopt_states(self) -> None:
        adopt_steps(self._run, self._states, self._step)
        self._states = self._states[-1:]
