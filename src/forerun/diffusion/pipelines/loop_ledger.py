"""One loop of a pipeline: how it is solved, and what it came to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.remaining_loop import Plan
from forerun.diffusion.pipelines.shared import share
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.options import SolveSettings
from forerun.engine.rounds import Round
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.engine.solve import solve

WORTH = 0.5  # rounds for each step, at most, to solve again after the pipeline has left the path


def solve_rest(plan: Plan, settings: SolveSettings, spent: tuple[int, int]) -> Solution:
    """Solve the steps of a plan after the first; `spent` are the rounds and evaluations of the loop before."""

    def count_round(event: RoundEvent) -> Any:
        plan.rounds += 1
        return settings.callback(event)

    solution = solve(
        plan.process,
        plan.state,
        method=settings.method,
        window=settings.window,
        tolerance=settings.tolerance,
        check=settings.check or False,
        guess=settings.guess,
        backend=settings.backend,
        progress=settings.progress,
        callback=count_round,
        resume=Checkpoint(1, plan.length, plan.state, rounds=spent[0], evaluations=spent[1]),
        throw=False,
    )
    if solution.status.done:
        share(plan.records, settings.backend, plan.device)
    return solution


@final
class LoopLedger:
    """Steps, rounds and evaluations of a loop.

    Attributes:
        steps: that the pipeline has taken.
        notes: sentences on what happened on the way.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.notes: list[str] = []
        self._rounds = 0  # of the last solve
        self._single = 0  # steps with calls of their own, since the last solve
        self._total = 0
        self._last: Tensor | None = None
        self._solution: Solution | None = None
        self._log: list[Round] = []

    @property
    def spent(self) -> tuple[int, int]:
        """Rounds and evaluations so far."""
        before = (0, 0) if self._solution is None else (self._solution.rounds, self._solution.evaluations)
        return before[0] + self._single, before[1] + self._single

    def pays(self, left: int) -> bool:
        """Whether solving so many steps again is likely to take fewer rounds than steps, by what it took before."""
        return self._solution is None or min(self._rounds, left) <= WORTH * left

    def single(self) -> None:
        """A step is taken by calls of its own."""
        self._single += 1

    def taken(self, sample: Tensor) -> None:
        """A step is taken, and leads to a sample."""
        self.steps += 1
        self._last = sample

    def reaches(self, left: int) -> None:
        """The loop has so many steps left, the present one included."""
        self._total = max(self._total, self.steps + left)

    def solved(self, solution: Solution) -> None:
        """What is left was solved from this step on."""
        self._log += [
            replace(entry, start=entry.start + self.steps, stop=entry.stop + self.steps) for entry in solution.log
        ]
        self._rounds = solution.rounds - self.spent[0]
        self._solution = solution
        self._single = 0

    def solution(self) -> Solution | None:
        """What the loop came to so far; None where no step was taken."""
        if self._last is None:
            return None
        rounds, evaluations = self.spent
        total = max(self._total, self.steps)
        end = Checkpoint(self.steps, total, self._last, rounds=rounds, evaluations=evaluations)
        if self._solution is None:
            exact = torch.zeros(len(self._last))
            return Solution(self._last, total, Status.SEQUENTIAL, (), exact, end, RunTiming(), self.notes)
        found = self._solution
        notes = [*found.notes, *self.notes]
        return Solution(self._last, total, found.status, self._log, found.deviation, end, found.seconds, notes)
