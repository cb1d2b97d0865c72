"""A run in several parts: segments between barriers, repeating without what failed, and one answer for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import final

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process
from forerun.engine.rounds import Round
from forerun.engine.rows import JoinedStates, Problem
from forerun.engine.run import SolveRun
from forerun.engine.run_guard import RunGuard
from forerun.engine.solution import RunTiming, Solution, Status


@dataclass(frozen=True)
class PathSegment:
    """Steps of a run up to the next barrier.

    Attributes:
        process: the steps `0 .. process.length - 1`, those before the segment included.
        state: the state to go on from; it may differ from the one that the segment before ended in.
    """

    process: Process
    state: Tree


@final
class SegmentedRun:
    """A run whose process or state may change at barriers; the same to its caller as a `SolveRun`.

    Args:
        next_segment: gives the segment that begins at a checkpoint; asked again after each one that is done.
        begin: where to begin; its `length` is the end of the whole run.
        settings: how every segment is solved.
    """

    def __init__(
        self, next_segment: Callable[[Checkpoint], PathSegment], begin: Checkpoint, settings: SolveSettings
    ) -> None:
        self._next_segment = next_segment
        self._begin = begin
        self._settings = settings
        self._finished: list[Solution] = []
        self._run = self._open_segment(begin)

    @property
    def problem(self) -> Problem:
        """The process of the segment, in rows."""
        return self._run.problem

    def goes_on(self) -> bool:
        """Return whether a step is left; at a barrier the next segment begins."""
        while not self._run.goes_on():
            solution = self._run.solution()
            place = self._drop_foresight(solution.checkpoint)
            if not solution.status.done or place.step >= self._begin.length:
                return False
            self._finished.append(solution)
            self._run = self._open_segment(place)
        return True

    def take_round(self) -> RoundEvent | None:
        """Take the next round; None where a step is not finite."""
        return self._run.take_round()

    def end(self, status: Status) -> None:
        """Let the run end where it stands."""
        self._run.end(status)

    def guarded(self) -> RunGuard:
        """Show progress, and lose nothing: an interrupt ends the run, an error carries a checkpoint."""
        return RunGuard(self, self._settings.progress.track(self._begin.step, self._begin.length))

    def checkpoint(self) -> Checkpoint:
        """Return what is accepted so far."""
        return self._drop_foresight(self._run.checkpoint())

    def solution(self) -> Solution:
        """Return one solution for all segments."""
        last = self._run.solution()
        return join_solutions([*self._finished, last], checkpoint=self._drop_foresight(last.checkpoint))

    def _drop_foresight(self, place: Checkpoint) -> Checkpoint:
        """Return a checkpoint of the segment; what was foreseen does not reach over the barrier at its end."""
        at_barrier = self._run.problem.length <= place.step < self._begin.length
        return replace(place, guessed_inputs=None, shadow=None) if at_barrier else place

    def _open_segment(self, place: Checkpoint) -> SolveRun:
        segment = self._next_segment(place)
        resume = replace(place, state=segment.state, length=segment.process.length)
        whole_length = self._begin.length
        return SolveRun(segment.process, segment.state, self._settings, resume=resume, whole_length=whole_length)


def repeat_until_finite(solve_once: Callable[[], Solution], leave_out: Callable[[Solution], bool]) -> Solution:
    """Solve again without what was not finite, until all that is left is.

    Args:
        solve_once: solves what is left; must not raise where a step is not finite.
        leave_out: leaves out what the solution says was not finite; False where nothing would be left.
    """
    while True:
        solution = solve_once()
        if solution.status is not Status.NONFINITE or not leave_out(solution):
            return solution


def join_solutions(
    solutions: Sequence[Solution],
    *,
    length: int | None = None,
    checkpoint: Checkpoint | None = None,
    notes: Sequence[str] = (),
) -> Solution:
    """Return one solution for parts of a run that followed one another; status and state are the last one's.

    Args:
        solutions: one a part, each resumed where the one before it ended, so that their checkpoints count on.
        length: steps of the whole run; by default that of the last part.
        checkpoint: where the whole run stands; by default that of the last part.
        notes: sentences to put before those of the parts.
    """
    last = solutions[-1]
    sentences = [*notes, *(note for solution in solutions for note in solution.notes)]
    return replace(
        last,
        length=last.length if length is None else length,
        checkpoint=checkpoint or last.checkpoint,
        log=[entry for solution in solutions for entry in solution.log],
        seconds=add_seconds([solution.seconds for solution in solutions]),
        notes=tuple(dict.fromkeys(sentences)),
        states=_joined_states(solutions),
    )


def add_seconds(timings: Sequence[RunTiming]) -> RunTiming:
    """Return the sum of the times of several parts, kind by kind."""
    names = [field.name for field in fields(RunTiming)]
    return RunTiming(**{name: sum(getattr(timing, name) for timing in timings) for name in names})


def shift_rounds(log: Sequence[Round], steps: int) -> list[Round]:
    """Return rounds whose steps are counted from `steps` earlier on: of a process that began after these."""
    return [replace(entry, start=entry.start + steps, stop=entry.stop + steps) for entry in log]


def _joined_states(solutions: Sequence[Solution]) -> Sequence[Tree] | None:
    """Return the states of all parts, the one where two meet once; None where a part kept none."""
    paths = [solution.states for solution in solutions if solution.states is not None]
    if len(paths) < len(solutions):
        return None
    return JoinedStates(paths[0], *(states[1:] for states in paths[1:]))
