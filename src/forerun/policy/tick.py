"""Tick: one answer of a policy, from noise to a chunk of actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.solution import Solution, Status
from forerun.policy.chunk import Network, tick_process
from forerun.policy.plan import Plan
from forerun.policy.run import Run, Setting


@dataclass(frozen=True)
class Answer:
    """What a tick came to.

    Attributes:
        sample: the state at the end, `(B, H, A)`; foreseen where there was no time for all steps.
        outputs: the newest of every step, `(length, B, H, A)`: what the next tick may begin from.
        solution: of its process.
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

    def guarded(self) -> Answer:
        """The same, with environments marked as bad whose sample is not finite: what is foreseen may not be."""
        sound = torch.isfinite(self.sample).flatten(1).all(1)
        if bool(sound.all()):
            return self
        bad = tuple(bad or not good for bad, good in zip(self.bad, sound.tolist(), strict=True))
        return replace(self, bad=bad)


@final
@dataclass
class Tick:
    """One tick, ready to be solved.

    Args:
        plan: of the schedule.
        network: the denoiser at the observation.
        noise: `(1 or 1 + length, B, H, A)`.
        known: guessed outputs `(length, B, H, A)`.
        last: the sample of the last tick, moved along the horizon, `(B, H, A)`.
        warm: of each environment, whether they come from its last tick.
        setting: how it is solved.
        begun: when it was asked for, in the seconds of `time.perf_counter`.
    """

    plan: Plan
    network: Network
    noise: Tensor
    known: Tensor
    last: Tensor
    warm: tuple[bool, ...]
    setting: Setting
    begun: float
    bad: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.bad = (False,) * len(self.warm)

    def solve(self, *, stale: float = inf) -> Answer:
        """All steps.

        Args:
            stale: root mean square by which the first outputs may differ from the guess before it is dropped.
        """
        run = self._sound(stale, lambda entry: False)
        solution = run.solution
        sample = run.process.observe(solution.state)
        return Answer(sample, run.outputs, solution, tuple(run.stale), self.bad, solution.deviation_estimate)

    def hurry(self, *, stop: Callable[[Round], bool], stale: float) -> Answer:
        """As many rounds as there are until it is time to stop, and the rest foreseen.

        Args:
            stop: asked after every round.
            stale: as for `solve`.
        """
        run = self._sound(stale, stop)
        sample, deviation = run.foreseen()
        return Answer(sample, run.outputs, run.solution, tuple(run.stale), self.bad, deviation)

    def process(self) -> tuple[Process, Tree]:
        """The tick as a process, and its first state."""
        return tick_process(self.plan, self.network, self.noise)

    def _sound(self, stale: float, stop: Callable[[Round], bool]) -> Run:
        """A run without the environments where something would not be finite."""
        while True:
            process, first = self.process()
            run = Run(process, first, known=self.known, warm=self.warm, setting=self.setting, stale=stale, stop=stop)
            if run.solution.status is not Status.NONFINITE or not self.silence(run.process, run.solution):
                return run

    def silence(self, process: Process, solution: Solution) -> bool:
        """Leave out the environments whose output is not finite; whether any other is left."""
        step, sample = solution.step, process.observe(solution.state)
        found = process.evaluate(torch.tensor([step], device=sample.device), sample.unsqueeze(0))[0]
        sound = torch.isfinite(found).flatten(1).all(1) & torch.isfinite(sample).flatten(1).all(1)
        bad = tuple(bad or not good for bad, good in zip(self.bad, sound.tolist(), strict=True))
        self.bad = bad if bad != self.bad else (True,) * len(bad)  # nobody to blame: all are held
        self.network = self.network.without(self.bad)
        return not all(self.bad)
