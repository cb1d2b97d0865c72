"""One solve of a tick, and what it leaves for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.event import RoundEvent
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings, ignore_event
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.rows import Problem, sweep_window
from forerun.engine.run import SolveRun
from forerun.engine.solve import call_unchanged, run_to_end
from forerun.policy.recall import Recall

FORESEEING_SECONDS: Final = 5e-4  # that it takes to foresee the end and to answer


def never_stop(entry: Round) -> bool:
    """Go on after any round."""
    return False


@final
@dataclass
class DeadlineClock:
    """Stops a run when another round like the last would be too late.

    Args:
        until: in the seconds of `time.perf_counter`.
    """

    until: float
    _last_time: float = field(default_factory=lambda: time.perf_counter(), init=False)

    def __call__(self, entry: Round) -> bool:
        """Return whether to stop after a round."""
        now = time.perf_counter()
        round_seconds = now - self._last_time
        self._last_time = now
        return now + round_seconds + FORESEEING_SECONDS > self.until


@dataclass(frozen=True)
class RoundSnapshot:
    """What was known after a round: an exact state, and outputs `(length, B, H, A)` of the steps after it."""

    step: int
    state: Tree
    outputs: Tensor


@final
class TickRun:
    """One solve of a tick.

    Args:
        process: the process of the tick.
        first_state: its first state.
        guessed_outputs: `(length, B, H, A)`.
        warm: of each environment, whether the guess comes from its last tick.
        settings: how it is solved.
        stale: root mean square by which the first outputs may differ from the guess before it is dropped.
        stop: asked after every round.

    Attributes:
        solution: the solution of the process.
        outputs: the newest outputs of every step, `(length, B, H, A)`.
        stale: of each environment, whether its guess was dropped.
    """

    def __init__(
        self,
        process: Process,
        first_state: Tree,
        *,
        guessed_outputs: Tensor,
        warm: tuple[bool, ...],
        settings: SolveSettings,
        stale: float,
        stop: Callable[[Round], bool] = never_stop,
    ) -> None:
        self.process = process
        self.outputs = guessed_outputs.clone()
        self.stale = [False] * len(warm)
        self._guessed_outputs = guessed_outputs
        self._warm = warm
        self._stale_distance = stale
        self._stop = stop
        self._callback = settings.callback
        self._trusted = guessed_outputs.new_tensor(warm).unsqueeze(-1)
        self._snapshots = [RoundSnapshot(0, first_state, guessed_outputs)]
        self._last_outputs: Tensor | None = None  # of the last round, (B, numbers)
        settings = replace(
            settings,
            guess=Recall(guessed_outputs, self._trusted),
            callback=ignore_event,
        )
        run = SolveRun(process, first_state, settings)
        self.solution = run_to_end(run, settings, follow=self._follow_round)

    def foresee_end(self) -> tuple[Tensor, float]:
        """Return the sample at the end `(B, H, A)`, and an estimate of how far off it is.

        What is foreseen keeps within all that the network said in the last round: slopes may carry it far out. The
        estimate is what the last two rounds changed, the larger of both, and where every step was done what the
        last one changed: root mean square, the largest over the environments. It is a rough one.
        """
        snapshots = self._snapshots
        if self.solution.status.done:
            snapshots = snapshots[-2:]
        ends = [self._sample_at_end(snapshot) for snapshot in snapshots]
        changes = [_largest_change(before, after) for before, after in pairwise(ends)]
        return self._clamp_foreseen(ends[-1]), max(changes, default=torch.inf)

    def _clamp_foreseen(self, sample: Tensor) -> Tensor:
        if self.solution.status.done or self._last_outputs is None:
            return sample
        low, high = self._last_outputs.aminmax(dim=-1, keepdim=True)
        return sample.clamp(low.unsqueeze(-1), high.unsqueeze(-1))

    def _follow_round(self, event: RoundEvent) -> bool:
        start, outputs = event.round.start, event.update.outputs
        evaluated_outputs = event.update.evaluations.outputs
        self._last_outputs = evaluated_outputs.transpose(0, 1).flatten(1)
        if len(self._snapshots) == 1 and any(self._warm):
            self._drop_stale_guesses(start, evaluated_outputs)
        stop = start + len(outputs)
        self.outputs[start:stop] = outputs.view(-1, *self.outputs.shape[1:])
        if stop < len(self.outputs):
            trend = self._guessed_outputs[stop:] - self._guessed_outputs[stop - 1]
            self.outputs[stop:] = self.outputs[stop - 1] + self._trusted.unsqueeze(-1) * trend
        snapshot = RoundSnapshot(event.step, event.state, self.outputs.clone())
        self._snapshots = [*self._snapshots[-2:], snapshot]
        asked_to_stop = call_unchanged(self._callback, event)
        return self._stop(event.round) or asked_to_stop

    def _drop_stale_guesses(self, start: int, outputs: Tensor) -> None:
        """After the first round, drop the guess of each environment where it is far off."""
        guesses = self._guessed_outputs[start : start + len(outputs)].flatten(2)
        distances = (outputs - guesses).square().mean((0, 2)).sqrt().tolist()
        # not `distance > bound`, which would let nan pass
        self.stale = [
            warm and not distance <= self._stale_distance for distance, warm in zip(distances, self._warm, strict=True)
        ]
        if any(self.stale):
            self._trusted[torch.tensor(self.stale, device=outputs.device)] = 0.0

    def _sample_at_end(self, snapshot: RoundSnapshot) -> Tensor:
        """Return the sample that the outputs of a snapshot lead to."""
        sample: Tensor
        steps_left = len(snapshot.outputs) - snapshot.step
        if not steps_left:
            sample = self.process.observe(snapshot.state)
            return sample
        problem = Problem(self.process, snapshot.state)
        problem.pack_output(snapshot.outputs[0])
        rows = problem.output_layout.pack(snapshot.outputs[snapshot.step :], steps_left)
        path = sweep_window(
            problem,
            snapshot.step,
            snapshot.state,
            outputs=rows,
            evaluated_inputs=torch.zeros_like(rows),
        )
        sample = self.process.observe(path.states[-1])
        return sample


def _largest_change(before: Tensor, after: Tensor) -> float:
    """Return the root mean square of a change, the largest over the environments."""
    return float((after - before).square().mean((1, 2)).max().sqrt())
