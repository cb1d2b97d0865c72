"""One tick of a policy, from noise to a chunk of actions, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.parts import repeat_until_finite
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.solution import Solution
from forerun.policy.plan import TickPlan
from forerun.policy.tick_process import ObservedDenoiser, begin_tick
from forerun.policy.tick_run import TickRun, never_stop


@dataclass(frozen=True)
class TickAnswer:
    """What a tick came to.

    Attributes:
        sample: the state at the end, `(B, H, A)`; foreseen where there was no time for all steps.
        outputs: the newest outputs of every step, `(length, B, H, A)`: what the next tick may begin from.
        solution: the solution of its process.
        stale: of each environment, whether the guess was dropped.
        bad: of each environment, whether the network gave something not finite.
        deviation: estimated root mean square by which the sample may be off, the largest over the environments; None
            where it was not estimated.
    """

    sample: Tensor
    outputs: Tensor
    solution: Solution
    stale: tuple[bool, ...]
    bad: tuple[bool, ...]
    deviation: float | None

    def mark_nonfinite(self) -> TickAnswer:
        """Return an answer with environments marked as bad whose sample is not finite: what is foreseen may not be."""
        finite = torch.isfinite(self.sample).flatten(1).all(1)
        if bool(finite.all()):
            return self
        return replace(self, bad=_mark_bad(self.bad, finite))


@final
@dataclass
class Tick:
    """One tick, ready to be solved.

    Args:
        plan: what is the same in every tick.
        denoiser: the network at the observation.
        noise: `(1 or 1 + length, B, H, A)`.
        guessed_outputs: `(length, B, H, A)`.
        last_sample: the sample of the last tick, moved along the horizon, `(B, H, A)`.
        warm: of each environment, whether the guesses come from its last tick.
        settings: how it is solved.
        start_time: when it was asked for, in the seconds of `time.perf_counter`.

    Attributes:
        bad: of each environment, whether it is left out as something was not finite.
    """

    plan: TickPlan
    denoiser: ObservedDenoiser
    noise: Tensor
    guessed_outputs: Tensor
    last_sample: Tensor
    warm: tuple[bool, ...]
    settings: SolveSettings
    start_time: float
    bad: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.bad = (False,) * len(self.warm)

    def solve(self, *, stale: float = inf) -> TickAnswer:
        """Take all steps.

        Args:
            stale: root mean square by which the first outputs may differ from the guess before it is dropped.
        """
        run = self._run_until_finite(stale, never_stop)
        solution = run.solution
        sample = run.process.observe(solution.state)
        return TickAnswer(
            sample,
            run.outputs,
            solution,
            tuple(run.stale),
            self.bad,
            solution.deviation_estimate,
        )

    def solve_in_time(self, *, stop: Callable[[Round], bool], stale: float) -> TickAnswer:
        """Take as many rounds as there are until it is time to stop, and foresee the end.

        Args:
            stop: asked after every round.
            stale: as for `solve`.
        """
        run = self._run_until_finite(stale, stop)
        sample, deviation = run.foresee_end()
        return TickAnswer(
            sample,
            run.outputs,
            run.solution,
            tuple(run.stale),
            self.bad,
            deviation,
        )

    def begin_process(self) -> tuple[Process, Tree]:
        """Return the tick as a process, and its first state."""
        return begin_tick(self.plan, self.denoiser, self.noise)

    def leave_out_nonfinite(self, process: Process, solution: Solution) -> bool:
        """Leave out the environments whose output is not finite; return whether any other is left."""
        sample = process.observe(solution.state)
        step = torch.tensor([solution.step], device=sample.device)
        outputs = process.evaluate(step, sample.unsqueeze(0))[0]
        finite = torch.isfinite(outputs).flatten(1).all(1) & torch.isfinite(sample).flatten(1).all(1)
        bad = _mark_bad(self.bad, finite)
        if bad == self.bad:  # nobody to blame: all are held
            bad = (True,) * len(bad)
        self.bad = bad
        self.denoiser = self.denoiser.exclude(bad)
        return not all(bad)

    def _run_until_finite(self, stale: float, stop: Callable[[Round], bool]) -> TickRun:
        """Return a run without the environments where something would not be finite."""
        run: TickRun

        def solve_once() -> Solution:
            nonlocal run
            process, first_state = self.begin_process()
            run = TickRun(
                process,
                first_state,
                guessed_outputs=self.guessed_outputs,
                warm=self.warm,
                settings=self.settings,
                stale=stale,
                stop=stop,
            )
            return run.solution

        repeat_until_finite(solve_once, lambda solution: self.leave_out_nonfinite(run.process, solution))
        return run


def _mark_bad(bad: tuple[bool, ...], finite: Tensor) -> tuple[bool, ...]:
    flags = zip(bad, finite.tolist(), strict=True)
    return tuple(was_bad or not is_finite for was_bad, is_finite in flags)
