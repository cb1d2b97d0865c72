"""LoopRun: a loop on its way, an event for every accepted step, and the solution at its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, final

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.parts import PathSegment, SegmentedRun, join_solutions
from forerun.engine.process import Process
from forerun.engine.run_guard import RunGuard
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.optim.barriers import Barriers
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.loop_solution import LoopSolution


class RunnableLoop(Protocol):
    """What a run needs of its `Loop`."""

    barriers: Barriers
    settings: SolveSettings
    notes: tuple[str, ...]

    def build_process(self, length: int) -> Process:
        """Return the loop up to a step as a process."""

    def pass_barrier(self, place: Checkpoint) -> Tree:
        """Return the state to go on from."""

    def hold_state(self, state: Tree, step: int) -> None:
        """Let the user's objects hold a state, and the loop stand before a step."""

    def require_untouched(self) -> None:
        """Refuse parameters that were changed since `hold_state`."""

    def build_tree(self, tensors: Sequence[Any]) -> Tree:
        """Return tensors, shaped like what the user passed."""


@final
class LoopRun(Iterable[AcceptedStep]):
    """A run of a `Loop`: iterate over its steps, ask for its `solution()`, or both.

    Nothing runs before the first step is asked for. While a step is looked at, and after the run, however it ends, the
    user's parameters and optimisers hold the state after the last step reported; after a `break`, iterating again or
    `solution()` goes on from there.
    """

    def __init__(
        self,
        loop: RunnableLoop,
        begin: Checkpoint,
        *,
        callback: Callable[[AcceptedStep], Any] | None = None,
        save: SaveEvery | None = None,
    ) -> None:
        self._loop = loop
        self._place = begin  # what is accepted; its length is the end of the run
        self._reported_step = begin.step  # steps before this one were reported, or will not be
        self._reported_state = begin.state
        self._callback = callback
        self._save = save
        self._solutions: list[Solution] = []
        self._finished = False

    def __iter__(self) -> Iterator[AcceptedStep]:
        # nothing here holds the generator: a break drops the last reference to it, which ends it at once
        return self._take_rounds(quiet=False)

    def solution(self) -> LoopSolution:
        """Take the steps that are left, and return the solution; its value is `params` after the last step.

        Raises:
            NotConverged: a step was not finite; its `solution` holds what was accepted.
        """
        try:
            for _ in self._take_rounds(quiet=True):
                pass
        except KeyboardInterrupt:
            if not self._finished:
                raise
        return self._join_solutions()

    def _take_rounds(self, *, quiet: bool) -> Generator[AcceptedStep, None, None]:
        """Take round after round; after each, yield the steps that it accepted."""
        if self._finished:
            return
        settings = self._loop.settings
        try:
            run = SegmentedRun(self._next_segment, self._place, settings)
            with settings.progress.track(self._place.step, self._place.length) as report:
                while (event := _take_round(run)) is not None:
                    report(event.round)
                    yield from self._report_round(run, event, quiet=quiet)
            self._finish_run(run)
        except GeneratorExit:  # a break: what was reported last is held already
            self._save_place()
            raise
        except BaseException:
            self._hold_place()
            raise
        self._hold_place()
        self._raise_failure()

    def _next_segment(self, place: Checkpoint) -> PathSegment:
        """Return the steps up to the next barrier, from the state that the loop goes on from."""
        state = self._loop.pass_barrier(place)
        end = self._loop.barriers.segment_end(place.step, place.length)
        return PathSegment(self._loop.build_process(end), state)

    def _report_round(
        self, run: SegmentedRun, event: RoundEvent, *, quiet: bool
    ) -> Generator[AcceptedStep, None, None]:
        """Yield the steps that a round accepted, save where a file is due, and stop where a callback says so."""
        previous_step = self._place.step
        self._place = run.checkpoint()
        try:
            stop = yield from self._report_steps(event, quiet=quiet)
            stop = bool(self._loop.settings.callback(event)) or stop
        except BaseException:
            self._rewind(run)
            raise
        if self._save and self._save.is_due(previous_step, self._place.step):
            self._save_place()
        if stop:
            run.end(Status.STOPPED)

    def _report_steps(self, event: RoundEvent, *, quiet: bool) -> Generator[AcceptedStep, None, bool]:
        """Yield the steps of a round; return whether the callback wants to stop."""
        if quiet and self._callback is None:
            self._reported_step = event.step
            self._reported_state = event.state
            return False
        stop = False
        for step, state in enumerate(event.states, event.round.start):
            if step < self._reported_step:  # the check went back
                continue
            accepted_step = AcceptedStep(step, self._place.rounds, state, self._loop.build_tree)
            self._loop.hold_state(state, step + 1)
            self._reported_step = step + 1
            self._reported_state = state
            if self._callback is not None:
                stop = bool(self._callback(accepted_step)) or stop
            if not quiet:
                yield accepted_step
            self._loop.require_untouched()
        return stop

    def _rewind(self, run: SegmentedRun) -> None:
        """Go back to the step reported last; the steps of the round that follow it are taken again."""
        self._place = replace(
            self._place,
            step=self._reported_step,
            state=self._reported_state,
            guessed_inputs=None,
            shadow=None,
        )
        run.end(Status.STOPPED)
        self._solutions.append(run.solution())

    def _finish_run(self, run: SegmentedRun) -> None:
        solution = run.solution()
        self._solutions.append(solution)
        self._place = solution.checkpoint
        self._finished = True

    def _hold_place(self) -> None:
        """Let the user's objects hold what is accepted, and the file too."""
        self._loop.hold_state(self._place.state, self._place.step)
        self._save_place()

    def _save_place(self) -> None:
        if self._save:
            self._save.save_checkpoint(self._place)

    def _raise_failure(self) -> None:
        """Raise what ended the run before its end, where it was not a callback."""
        status = self._solutions[-1].status
        if status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if status is Status.NONFINITE:
            raise NotConverged(self._join_solutions())

    def _join_solutions(self) -> LoopSolution:
        """Return one solution for all parts."""
        solution = join_solutions(
            self._solutions,
            length=self._place.length,
            checkpoint=self._place,
            notes=self._loop.notes,
        )
        return LoopSolution.from_solution(solution, self._loop.build_tree)


def _take_round(run: SegmentedRun) -> RoundEvent | None:
    """Take the next round of a run; None at its end."""
    with RunGuard(run):
        if run.goes_on():
            return run.take_round()
    return None
