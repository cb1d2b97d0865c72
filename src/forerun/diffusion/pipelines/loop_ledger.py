"""LoopLedger: steps, rounds and evaluations of one loop of a pipeline, and the solution that they come to."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.parts import join_solutions, shift_rounds
from forerun.engine.solution import RunTiming, Solution, Status

ROUNDS_A_STEP = 0.5  # at most, to solve again after the pipeline has left the path


@final
class LoopLedger:
    """Steps, rounds and evaluations of a loop.

    Attributes:
        steps: that the pipeline has taken.
        notes: sentences on what happened on the way.
        witnessed: steps of solved paths on which the networks were called alone, and agreed.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.notes: list[str] = []
        self.witnessed = 0
        self._single_steps = 0  # with calls of their own, since the last solve
        self._solve_rounds = 0  # of the last solve
        self._length = 0
        self._sample: Tensor | None = None
        self._solutions: list[Solution] = []

    @property
    def spent(self) -> tuple[int, int]:
        """Rounds and evaluations so far."""
        rounds = evaluations = self._single_steps
        if self._solutions:
            last = self._solutions[-1]
            rounds += last.rounds
            evaluations += last.evaluations
        return rounds, evaluations

    def pays_again(self, steps_left: int) -> bool:
        """Return whether solving so many steps again is likely to save rounds, by what it took before."""
        if not self._solutions:
            return True
        return min(self._solve_rounds, steps_left) <= ROUNDS_A_STEP * steps_left

    def count_single_step(self) -> None:
        """Count a step that is taken by calls of its own."""
        self._single_steps += 1

    def finish_step(self, sample: Tensor | None) -> None:
        """Count a step that the pipeline has taken, and keep the sample that it leads to, where one is seen."""
        self.steps += 1
        self._sample = sample

    def expect_steps(self, steps_left: int) -> None:
        """Take note that so many steps are left, the present one included."""
        self._length = max(self._length, self.steps + steps_left)

    def add_note(self, note: str) -> None:
        """Add a sentence on what happened, once."""
        if note not in self.notes:
            self.notes.append(note)

    def add_solution(self, solution: Solution, start: int) -> None:
        """Add a solve of what was left after the step `start` of the loop, which its process counts as 0."""
        self._solve_rounds = solution.rounds - self.spent[0]
        log = shift_rounds(solution.log, start)
        self._solutions.append(replace(solution, log=log))
        self._single_steps = 0

    def judge_last(self, solution: Solution) -> None:
        """Take over what is known at the end of the last solve, whose later steps the pipeline took by itself."""
        self._solutions[-1] = replace(
            self._solutions[-1],
            status=solution.status,
            deviation=solution.deviation,
            check_evaluations=solution.check_evaluations,
        )

    def solution(self) -> Solution | None:
        """Return what the loop came to so far; None where no step was taken."""
        if self._sample is None:
            return None
        rounds, evaluations = self.spent
        length = max(self._length, self.steps)
        end = Checkpoint(self.steps, length, self._sample, rounds=rounds, evaluations=evaluations)
        if not self._solutions:
            return self._solution_in_order(self._sample, end)
        combined = join_solutions(self._solutions, length=length, checkpoint=end)
        notes = [*combined.notes, *self.notes]
        return replace(combined, state=self._sample, notes=notes, witnessed=self.witnessed)

    def _solution_in_order(self, sample: Tensor, end: Checkpoint) -> Solution:
        return Solution(
            state=sample,
            length=end.length,
            status=Status.SEQUENTIAL,
            log=(),
            deviation=torch.zeros(len(sample)),
            checkpoint=end,
            seconds=RunTiming(),
            notes=self.notes,
        )
