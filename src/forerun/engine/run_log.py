"""The log of a run: its rounds, the states it keeps, and where its time went."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from typing import final

from forerun.engine.backends import Backend
from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.methods import WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.rows import JoinedStates, Problem, copy_states
from forerun.engine.solution import RunTiming
from forerun.engine.solve_state import SolveState


@final
class RunLog:
    """What a run leaves behind besides its state.

    Args:
        problem: the process, in rows.
        backend: where rounds are evaluated.
        first_step: where the run began.
        first_state: the state there, where the path is to be kept; None where not.

    Attributes:
        evaluate: the counted call that methods and guesses are given.
        entries: the rounds, in order; after an interrupt one more than the state knows of.
    """

    def __init__(
        self,
        problem: Problem,
        backend: Backend,
        first_step: int,
        first_state: Tree | None,
    ) -> None:
        self.evaluate = CountedEvaluate(problem, backend)
        self.entries: list[Round] = []
        self._first_step = first_step
        self._path: list[tuple[int, Sequence[Tree]]] | None = None  # the states from a step on, round by round
        if first_state is not None:
            self._path = [(first_step, [first_state])]
        self._path_before = self._path
        self._start_time = time.perf_counter()
        self._advance = 0.0

    @property
    def size(self) -> int:
        """Number of rounds."""
        return len(self.entries)

    def start_sweep(self) -> float:
        """Return the time at which a method begins; its time is that of the sweep, but for what evaluation takes."""
        return time.perf_counter()

    def end_sweep(self, start_time: float) -> None:
        """Count the time since a method began."""
        self._advance += time.perf_counter() - start_time

    def add_round(
        self,
        state: SolveState,
        update: WindowUpdate,
        sizes: list[float],
        accepted: int,
    ) -> Round:
        """Add a round, and the states that it accepted, after those that the state knows of."""
        totals = self.evaluate.take_totals()
        timing = totals.timing
        self._advance -= timing.evaluate + timing.communicate
        start = state.window.start
        elapsed = timing.total + totals.apart.total
        if state.logged:
            elapsed += self.entries[state.logged - 1].elapsed
        entry = Round(
            start=start,
            stop=start + len(sizes),
            accepted=accepted,
            residuals=array("f", sizes),
            threshold=state.threshold,
            rounds=totals.rounds,
            evaluations=totals.evaluations,
            timing=timing,
            in_order=update.in_order,
            sparse=update.evaluations.sparse,
            single=totals.single if update.in_order else None,
            elapsed=elapsed,
        )
        self.entries[state.logged :] = [entry]
        if self._path is not None:
            _cut_path(self._path, start + 1)
            self._path.append((start + 1, copy_states(update.states[:accepted])))
        return entry

    def keep_path(self) -> None:
        """Keep the path as it is, in case that going back comes to nothing."""
        self._path_before = None if self._path is None else list(self._path)

    def restore_path(self) -> None:
        """Return to the path that was kept."""
        self._path = self._path_before

    def previous(self, state: SolveState) -> Round | None:
        """Return the last round that the state knows of; None before the first."""
        return self.entries[state.logged - 1] if state.logged else None

    def rounds(self, state: SolveState) -> list[Round]:
        """Return the rounds that the state knows of."""
        return self.entries[: state.logged]

    def states(self, state: SolveState) -> Sequence[Tree] | None:
        """Return the states from the first to that of the window; None where they were not kept."""
        if self._path is None:
            return None
        whole = JoinedStates(*(states for _, states in self._path))
        return whole[: state.window.start - self._first_step + 1]

    def seconds(self, state: SolveState) -> RunTiming:
        """Return where the time went since the run began."""
        total = time.perf_counter() - self._start_time
        timing = sum((entry.timing for entry in self.rounds(state)), RoundTiming())
        advance = max(self._advance, 0.0)
        overhead = total - timing.evaluate - timing.communicate - advance
        return RunTiming(timing.evaluate, advance, timing.communicate, max(overhead, 0.0))


def _cut_path(path: list[tuple[int, Sequence[Tree]]], stop: int) -> None:
    """Leave out the states from step `stop` on, where the check went back; in place, so that a round costs its own."""
    while path[-1][0] >= stop:
        path.pop()
    first, states = path[-1]
    if first + len(states) > stop:
        path[-1] = (first, states[: stop - first])
