"""A recurrence to be solved: by Newton, by the plain loop, and which of them should be quicker."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from forerun.engine.event import RoundEvent
from forerun.engine.methods import Method, Newton, Sequential
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import Tree, tree_map, tree_tensors
from forerun.engine.rows import stack_states
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.recurrence import Recurrence, differentiable

SHORT, WIDE = 256, 64  # steps, and elements of a hidden state, at which the plain loop is taken without a trial
TRIALS, ROUNDS, REPEATS = (64, 320), 8, 2  # steps of the trials, rounds that Newton usually takes, times to measure
MARGIN = 2.0  # a round takes longer in a run than alone, above all where its Jacobians leave the cache
BACK = 2.5  # times a forward pass of the loop, that it takes with its gradient
KNOWN: dict[Hashable, tuple[float, float]] = {}  # what trials found, by kind and size
KEPT = 6  # times the Jacobians of a window, that a round of Newton holds at once


@dataclass(frozen=True)
class RecurrenceJob:
    """A recurrence to be solved: rows of the first state `(B, D)`, and what the cell made of the inputs."""

    cell: Cell
    start: Tensor
    prepared: Tree
    length: int
    max_bytes: int

    @property
    def process(self) -> Recurrence:
        """Without its gradient."""
        return Recurrence(self.cell, detached(self.prepared), self.length)

    @property
    def span(self) -> int:
        """Steps whose Jacobians fit `max_bytes`; one at least."""
        return max(self.max_bytes // (KEPT * self._single), 1)

    @property
    def _single(self) -> int:
        """Bytes of the Jacobian of a step."""
        return self.start.numel() * self.start.shape[-1] * self.start.element_size()

    def afford(self) -> None:
        """Refuse Jacobians of which not even one fits.

        Raises:
            ValueError: how much it takes, and what to type instead.
        """
        if self._single > self.max_bytes:
            width = self.start.shape[-1]
            raise ValueError(
                f"Newton() needs the Jacobian of a step, {width} x {width} numbers for {len(self.start)} samples, "
                f"{self._single / 2**30:.3g} GiB, but max_bytes allows {self.max_bytes / 2**30:.3g} GiB; use "
                "method=QuasiNewton() for its diagonal, or fewer samples at a time"
            )

    @torch.no_grad()
    def round_costs(self) -> float:
        """Seconds of a round of Newton over the whole length, on the line through two trials."""
        process, start = self.process, self.start.detach()
        few, many = (min(size, self.length, self.span) for size in TRIALS)
        steps = torch.arange(many, device=start.device)
        rows = start.expand(many, *start.shape).contiguous()

        def round_of(count: int) -> None:
            outputs, slopes = process.linear(steps[:count], rows[:count])
            affine_scan(slopes, outputs, start, differentiable=False)

        low, high = quickest(lambda: round_of(few)), quickest(lambda: round_of(many))
        return high + max(high - low, 0.0) / max(many - few, 1) * (self.length - many)

    def solved(self, method: Method, budget: float, options: dict[str, Any]) -> tuple[Tensor, Solution, str]:
        """The path without its gradient, rows `(T + 1, B, D)`; step by step, once the budget of seconds is spent."""
        process, start = self.process, self.start.detach()
        if method == Newton():
            self.afford()
            method = Newton(process.linear, max_bytes=self.max_bytes)
        begun = time.perf_counter()

        def late(event: RoundEvent) -> bool:
            return time.perf_counter() - begun > budget and event.step < self.length

        solution = solve(process, start, method=method, callback=late, path=True, **options)
        assert solution.states is not None, "they were asked for"
        path: Tensor = stack_states(solution.states)
        if solution.status.done:
            return path, solution, ""
        note = f"the plain loop from step {solution.step} on: Newton had taken as long as the loop takes"
        rest = solve(process, start, method=Sequential(), resume=solution.checkpoint, path=True, **options)
        assert rest.states is not None, "they were asked for"
        return torch.cat([path, stack_states(rest.states)[1:]]), rest, note

    def lifted(self, path: Tensor) -> Tensor:
        """The same path `(T, B, D)` as a differentiable function of all that it came from."""
        before = torch.cat([self.start.unsqueeze(0), path[1:-1]])  # the first with its gradient
        stepped = self.cell.step(before, self.prepared)
        if not stepped.requires_grad:
            return stepped
        fixed = before.detach()

        @torch.no_grad()
        def jacobian(first: int, stop: int) -> Tensor:
            return self.cell.linear(fixed[first:stop], detached(part(self.prepared, first, stop)))[1]

        return differentiable(stepped, jacobian, self.span)


@dataclass(frozen=True)
class Loop:
    """The plain loop over a cell, as its user would write it."""

    cell: Any
    layout: RowLayout
    h0: Tree
    xs: Tree  # of a `Cell`, what it made of them

    def run(self, length: int) -> Tree:
        """The first states, a tree with a leading axis."""
        hidden, found = self.h0, []
        for step in range(length):
            hidden = self._step(hidden, step)
            found.append(hidden)
        return stack_states(found)

    def _step(self, hidden: Tree, step: int) -> Tree:
        if isinstance(self.cell, Cell):
            row = self.layout.pack(hidden).unsqueeze(0)
            return self.layout.unpack(self.cell.step(row, part(self.xs, step, step + 1))[0])
        x = tree_map(lambda leaf: leaf[step], self.xs)
        return self.cell(x, hidden) if isinstance(self.cell, nn.RNNCellBase) else self.cell(hidden, x)


def trial(job: RecurrenceJob, step: Callable[[], object]) -> tuple[str, float]:
    """Why the plain loop should be quicker, empty where Newton should be; and the seconds that the loop takes.

    Args:
        job: to be solved.
        step: one step of the loop.
    """
    width = job.start.shape[-1]
    if job.length < SHORT or width > WIDE:
        return f"the plain loop: {job.length} steps of {width} elements are not worth running ahead", 0.0
    learns = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in (job.start, *tree_tensors(job.prepared)))
    key = _key(job)
    if key not in KNOWN:
        KNOWN[key] = quickest(step), job.round_costs()
    single, once = KNOWN[key]
    loop, ahead = job.length * single * (BACK if learns else 1), once * (ROUNDS + learns)
    if MARGIN * ahead < loop:
        return "", job.length * single
    return f"the plain loop: from a trial, Newton would take {ahead / loop:.2f} times as long at best", 0.0


def learn(job: RecurrenceJob, seconds: float) -> None:
    """Remember what a run took instead of what its trial promised: as cells learn to keep, Newton needs more rounds."""
    if _key(job) in KNOWN:
        single, once = KNOWN[_key(job)]
        KNOWN[_key(job)] = single, max(seconds / ROUNDS / MARGIN, once)


def _key(job: RecurrenceJob) -> Hashable:
    """The same for jobs that take about as long."""
    code = getattr(getattr(job.cell, "function", None), "__code__", None)
    kind = type(job.cell) if code is None else code
    return kind, job.start.shape, job.start.dtype, job.start.device, job.length


def quickest(call: Callable[[], object]) -> float:
    """Seconds of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def part(tree: Tree, first: int, stop: int) -> Tree:
    """The steps of a tree `(T, ...)` from one to another."""
    return tree_map(lambda leaf: leaf[first:stop], tree)


def detached(tree: Tree) -> Tree:
    """Without its gradient."""
    return tree_map(torch.Tensor.detach, tree)
