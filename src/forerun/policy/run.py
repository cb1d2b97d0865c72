"""Run: one solve of a tick, and what is kept of it for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.backends import Backend
from forerun.engine.check import Check
from forerun.engine.event import RoundEvent
from forerun.engine.methods import Method
from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.rows import Problem, sweep_window
from forerun.engine.solve import solve
from forerun.engine.tolerance import Tolerance
from forerun.engine.windows import Window
from forerun.policy.recall import Recall

RESERVE: Final = 5e-4  # seconds that it takes to foresee the end and to answer


@dataclass(frozen=True)
class Setting:
    """How every tick is solved."""

    method: Method
    window: Window
    tolerance: Tolerance
    check: bool | Check
    backend: Backend


@final
@dataclass
class Clock:
    """Stops a run when another round like the last would be too late.

    Args:
        until: in the seconds of `time.perf_counter`.
    """

    until: float
    _seen: float = field(default_factory=lambda: time.perf_counter(), init=False)

    def __call__(self, entry: Round) -> bool:
        """Whether to stop after a round."""
        now = time.perf_counter()
        took, self._seen = now - self._seen, now
        return now + took + RESERVE > self.until


@dataclass(frozen=True)
class Sight:
    """What was known after a round: an exact state, and outputs `(length, B, H, A)` of the steps behind it."""

    step: int
    state: Tree
    outputs: Tensor


@final
class Run:
    """One solve of a tick.

    Args:
        process: of the tick.
        first: its first state.
        known: guessed outputs `(length, B, H, A)`.
        warm: of each environment, whether they come from its last tick.
        setting: how it is solved.
        stale: root mean square by which the first outputs may differ from the guess before it is dropped.
        stop: asked after every round.

    Attributes:
        solution: of the process.
        outputs: the newest of every step, `(length, B, H, A)`.
        stale: of each environment, whether its guess was dropped.
    """

    def __init__(
        self,
        process: Process,
        first: Tree,
        *,
        known: Tensor,
        warm: tuple[bool, ...],
        setting: Setting,
        stale: float,
        stop: Callable[[Round], bool] = lambda entry: False,
    ) -> None:
        self.process = process
        self.outputs = known.clone()
        self.stale = [False] * len(warm)
        self._known, self._warm, self._limit, self._stop = known, warm, stale, stop
        self._trusted = known.new_tensor(warm).unsqueeze(-1)
        self._sights = [Sight(0, first, known)]
        self._said: Tensor | None = None  # outputs of the last round, (B, numbers)
        self.solution = solve(
            process,
            first,
            method=setting.method,
            window=setting.window,
            tolerance=setting.tolerance,
            check=setting.check,
            backend=setting.backend,
            guess=Recall(known, self._trusted),
            callback=self._follow,
            throw=False,
        )

    def foreseen(self) -> tuple[Tensor, float]:
        """The sample at the end `(B, H, A)`, and an estimate of how far off it is.

        What is foreseen keeps within all that the network said in the last round: slopes may carry it far out. The
        estimate is what the last two rounds changed, the larger of both, and where every step was done what the
        last one changed: root mean square, the largest over the environments. It is a rough one.
        """
        sights = self._sights[-2:] if self.solution.status.done else self._sights
        ends = [self._end(sight) for sight in sights]
        changes = [float((after - before).square().mean((1, 2)).max().sqrt()) for before, after in pairwise(ends)]
        return self._bounded(ends[-1]), max(changes, default=torch.inf)

    def _bounded(self, sample: Tensor) -> Tensor:
        if self.solution.status.done or self._said is None:
            return sample
        low, high = self._said.aminmax(dim=-1, keepdim=True)
        return sample.clamp(low.unsqueeze(-1), high.unsqueeze(-1))

    def _follow(self, event: RoundEvent) -> bool:
        start, found = event.round.start, event.update.outputs
        self._said = event.update.evaluations.outputs.transpose(0, 1).flatten(1)
        if len(self._sights) == 1 and any(self._warm):
            self._doubt(start, event.update.evaluations.outputs)
        self.outputs[start : start + len(found)] = found.view(-1, *self.outputs.shape[1:])
        beyond = start + len(found)
        if beyond < len(self.outputs):
            trend = self._known[beyond:] - self._known[beyond - 1]
            self.outputs[beyond:] = self.outputs[beyond - 1] + self._trusted.unsqueeze(-1) * trend
        self._sights = [*self._sights[-2:], Sight(event.step, event.state, self.outputs.clone())]
        return self._stop(event.round)

    def _doubt(self, start: int, found: Tensor) -> None:
        """After the first round: is the guess still worth something?"""
        known = self._known[start : start + len(found)].flatten(2)
        apart = (found - known).square().mean((0, 2)).sqrt().tolist()
        self.stale = [warm and not size <= self._limit for size, warm in zip(apart, self._warm, strict=True)]
        if any(self.stale):
            self._trusted[torch.tensor(self.stale, device=found.device)] = 0.0

    def _end(self, sight: Sight) -> Tensor:
        """The sample that the outputs lead to."""
        sample: Tensor
        if sight.step == len(sight.outputs):
            sample = self.process.observe(sight.state)
            return sample
        problem = Problem(self.process, sight.state)
        problem.pack_output(sight.outputs[0])
        rows = problem.output_layout.pack(sight.outputs[sight.step :], len(sight.outputs) - sight.step)
        path = sweep_window(problem, sight.step, sight.state, outputs=rows, evaluated_inputs=torch.zeros_like(rows))
        sample = self.process.observe(path.states[-1])
        return sample
