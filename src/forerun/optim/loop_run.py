"""LoopRun: a loop on its way, an event for every accepted step, and the solution at its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any, final

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.options import ignore_event
from forerun.engine.parts import PathSegment, SegmentedRun, join_solutions
from forerun.engine.rounds import Round
from forerun.engine.run_guard import RunGuard
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.live_loop import LiveLoop
from forerun.optim.loop_solution import LoopSolution
from forerun.optim.replica import ReplicaDiffers
from forerun.optim.round_outputs import RoundOutputs
from forerun.optim.witness_plan import WitnessPlan


@final
class LoopRun(Iterable[AcceptedStep]):
    """A run of a `Loop`: iterate over its steps, ask for its `solution()`, or both.

    Nothing runs before the first step is asked for. While a step is looked at, and after the run, however it ends, the
    user's parameters and optimisers hold the state after the last step reported; after a `break`, iterating again or
    `solution()` goes on from there. What is changed while a step is looked at is gone on from.
    """

    def __init__(
        self,
        live: LiveLoop,
        begin: Checkpoint,
        *,
        callback: Callable[[AcceptedStep], Any] | None = None,
        save: SaveEvery | None = None,
        holds_begin: bool = True,
    ) -> None:
        self._live = live
        self._place = begin  # what is accepted; its length is the end of the run
        self._restart = begin  # where what the user did last is in force: the plain loop can begin there
        self._reported_step = begin.step  # steps before this one were reported, or will not be
        self._reported_state = begin.state
        self._silent_until = begin.step  # steps before this one were reported already, and are taken once more
        self._last_change = begin.step - 9
        self._holds_place = holds_begin
        self._witness = WitnessPlan.for_run(live, begin)
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
        try:
            self._begin_rounds(quiet=quiet)
            with self._live.settings.progress.track(self._place.step, self._place.length) as report:
                goes_on = True
                while goes_on:
                    goes_on = yield from self._take_segments(report, quiet=quiet)
        except GeneratorExit:  # a break: what was reported last is held already
            self._save_place()
            raise
        except BaseException:
            self._hold_place()
            raise
        self._hold_place()
        self._raise_failure()

    def _begin_rounds(self, *, quiet: bool) -> None:
        """Take over what was changed since the run was asked for, or broken off."""
        if self._holds_place and self._live.step == self._place.step and self._adopt_changes():
            self._go_back()
        self._holds_place = True
        if self._live.retains and not (quiet and self._callback is None):
            self._live.give_way("the loss retains the gradient of a tensor, for the body of the loop to read")

    def _take_segments(self, report: Callable[[Round], None], *, quiet: bool) -> Generator[AcceptedStep, None, bool]:
        """Take rounds to the end of the run, or until it goes on in another way; return whether it goes on."""
        run = SegmentedRun(self._next_segment, self._place, self._live.run_settings())
        try:
            while (event := _take_round(run)) is not None:
                self._live.require_marks()
                report(event.round)
                goes_on = yield from self._report_round(run, event, quiet=quiet)
                if not goes_on:
                    return True
        except ReplicaDiffers as difference:
            self._end_part(run)
            self._give_way(difference)
            return True
        self._finish_run(run)
        return False

    def _next_segment(self, place: Checkpoint) -> PathSegment:
        """Return the steps up to the next barrier, from the state that the loop goes on from."""
        state = self._live.pass_barrier(place)
        end = self._live.barriers.segment_end(place.step, place.length)
        return PathSegment(self._live.build_process(end), state)

    def _report_round(
        self, run: SegmentedRun, event: RoundEvent, *, quiet: bool
    ) -> Generator[AcceptedStep, None, bool]:
        """Yield the steps that a round accepted, and save where a file is due; return whether the run goes on so."""
        previous_step = self._place.step
        self._place = run.checkpoint()
        try:
            stop, changed = yield from self._report_steps(run, event, quiet=quiet)
            stop_round, changed_after = self._call_back(event, changed=changed)
        except ReplicaDiffers:
            raise
        except BaseException:
            self._end_part(run)
            raise
        if changed or changed_after:
            self._go_back()
        if self._save and self._save.is_due(previous_step, self._place.step):
            self._save_place()
        return self._settle_round(run, stop=stop or stop_round, changed=changed or changed_after)

    def _settle_round(
        self,
        run: SegmentedRun,
        *,
        stop: bool,
        changed: bool,
    ) -> bool:
        """End a run where a callback stops it, or something was changed; return whether it goes on as it is."""
        if stop:
            run.end(Status.STOPPED)
        if stop or not changed or self._place.step >= self._place.length:
            return True
        self._end_part(run)
        return False

    def _call_back(self, event: RoundEvent, *, changed: bool) -> tuple[bool, bool]:
        """Call the callback of the options; return whether it stops the run, and whether it changed anything."""
        callback = self._live.settings.callback
        if callback is ignore_event:
            return False, False
        if not changed and self._reported_step == event.step:
            self._live.hold_state(event.state, event.step)
        stop = bool(callback(event))
        return stop, not changed and self._reported_step == event.step and self._adopt_changes()

    def _report_steps(
        self, run: SegmentedRun, event: RoundEvent, *, quiet: bool
    ) -> Generator[AcceptedStep, None, tuple[bool, bool]]:
        """Yield the steps of a round; return whether the callback wants to stop, and whether anything was changed."""
        outputs = RoundOutputs(run.problem, event.update.evaluations, self._live)
        if quiet and self._callback is None:
            self._witness.hold_against(outputs, event.round.start, event.step)
            self._reported_step = event.step
            self._reported_state = event.state
            return False, False
        stop = False
        for step, state in enumerate(event.states, event.round.start):
            if step < self._reported_step:  # the check went back
                continue
            self._witness.hold_next(outputs, step, is_stale=step > event.round.start)
            self._reported_step = step + 1
            self._reported_state = state
            if step < self._silent_until:
                continue
            self._live.hold_state(state, step + 1, outputs.unpack_output(step))
            accepted_step = self._make_event(step, outputs)
            changed = True
            try:
                if self._callback is not None:
                    stop = bool(self._callback(accepted_step)) or stop
                if not quiet:
                    yield accepted_step
            finally:
                changed = self._adopt_changes()
            if changed:
                return stop, True
        return stop, False

    def _make_event(self, step: int, outputs: RoundOutputs) -> AcceptedStep:
        return AcceptedStep(
            step,
            self._place.rounds,
            self._reported_state,
            self._live.build_tree,
            outputs.list_gradients(step),
        )

    def _adopt_changes(self) -> bool:
        """Take over what the user changed while the step reported last was looked at; return whether anything was."""
        change = self._live.find_change(self._reported_state)
        if change is None:
            return False
        self._reported_state = self._live.adopt_changes(self._reported_state)
        self._restart = replace(self._place, step=self._reported_step, state=self._reported_state)
        is_frequent = self._reported_step - self._last_change <= 2
        self._last_change = self._reported_step
        if is_frequent:
            self._live.give_way(f"{change} is changed between its steps, again and again")
        return True

    def _go_back(self) -> None:
        """Go back to the step reported last; the steps that follow it are taken again."""
        self._place = replace(
            self._place,
            step=self._reported_step,
            state=self._reported_state,
            guessed_inputs=None,
            shadow=None,
        )

    def _end_part(self, run: SegmentedRun) -> None:
        """End a run at the step reported last."""
        self._go_back()
        run.end(Status.STOPPED)
        self._solutions.append(run.solution())

    def _give_way(self, difference: ReplicaDiffers) -> None:
        """Go on with the plain loop: from the step reported last, or from where the replica may have been wrong."""
        self._live.give_way(difference.reason)
        if not difference.is_late:
            return
        self._silent_until = max(self._silent_until, self._reported_step)
        self._place = replace(
            self._restart,
            rounds=self._place.rounds,
            evaluations=self._place.evaluations,
            guessed_inputs=None,
            shadow=None,
        )
        self._reported_step = self._place.step
        self._reported_state = self._place.state

    def _finish_run(self, run: SegmentedRun) -> None:
        solution = run.solution()
        self._solutions.append(solution)
        was_changed = self._reported_step == self._last_change == solution.step
        self._place = solution.checkpoint
        if was_changed:
            self._go_back()
        self._finished = True

    def _hold_place(self) -> None:
        """Let the user's objects hold what is accepted, and the file too."""
        self._live.hold_state(self._place.state, self._place.step)
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
            notes=self._live.notes,
        )
        solution = replace(solution, witnessed=self._witness.count)
        return LoopSolution.from_solution(solution, self._live.build_tree)


def _take_round(run: SegmentedRun) -> RoundEvent | None:
    """Take the next round of a run; None at its end."""
    with RunGuard(run):
        if run.goes_on():
            return run.take_round()
    return None
