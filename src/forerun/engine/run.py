"""A solve on its way, a round at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import final

from torch import Tensor

from forerun.engine.check import DeviationEstimator, largest_size
from forerun.engine.check.check_memory import remember_check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.methods import Sequential, WindowUpdate
from forerun.engine.nonfinite_samples import NonfiniteSamples
from forerun.engine.numerics.autocast import in_plain_arithmetic
from forerun.engine.numerics.replaced_fields import replace_fields
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process
from forerun.engine.residuals import Residuals
from forerun.engine.run_deviation import estimate_deviation, follow_check, measure_excess, settle_check
from forerun.engine.run_guard import RunGuard
from forerun.engine.run_memory import remember_run
from forerun.engine.run_opening import open_run
from forerun.engine.solution import Solution, Status
from forerun.engine.solve_state import SolveState, choose_skeleton, open_window
from forerun.engine.validation import load_resumed, refuse_process
from forerun.engine.verdict import (
    TOO_MANY,
    Retry,
    explain_uncertain,
    has_spent_stake,
    judge_end,
    plan_in_order,
    plan_retry,
    restore_end,
    retrace_slots,
    return_to_restart_point,
    takes_too_many,
)

CARRIED_DRIFT = "The drift of {:.1g} up to step {} is carried on from there as a few sampled steps show that it grows."


@final
class SolveRun:
    """One solve on its way: `while run.goes_on(): event = run.take_round()`, then `run.solution()`.

    Args:
        process: the computation.
        state: its first state.
        settings: how it is solved.
        resume: a checkpoint, or the file of one, to go on from instead of from `state`.
        path: keep the states from here on.
        whole_length: steps of the run that this is a part of; by default those of the process.
        leaves_out: go on without samples that are not finite, rather than end.

    Raises:
        TypeError: an argument or a leaf of the state is of the wrong kind.
        ValueError: the process, the tolerance and the checkpoint do not belong together.
    """

    @in_plain_arithmetic
    def __init__(
        self,
        process: Process,
        state: Tree,
        settings: SolveSettings,
        *,
        resume: Checkpoint | str | Path | None = None,
        path: bool = False,
        whole_length: int | None = None,
        leaves_out: bool = False,
    ) -> None:
        refuse_process(process, settings.tolerance)
        checkpoint = load_resumed(resume, process)
        opening = open_run(process, state, settings, checkpoint=checkpoint, path=path, is_whole=whole_length is None)
        self.problem = opening.problem
        self._nonfinite = NonfiniteSamples(self.problem, checkpoint, goes_on=leaves_out)
        self.settings = opening.settings
        self._kind = opening.kind
        self.log = opening.log
        self.state = opening.state
        self._slots = opening.slots
        self._whole_length = process.length if whole_length is None else whole_length
        self._began_exact = opening.began_exact
        self._deviation_is_known = opening.deviation_is_known
        self._fingerprint = opening.fingerprint
        self._opening_error = opening.error

    def goes_on(self) -> bool:
        """Return whether a step is left; at the end of the path the check may send the run back."""
        if self._opening_error is not None:
            raise self._opening_error
        if self.state.status is not Status.RUNNING:
            return False
        if self._at_end(self.state.window.start):
            self._settle()
        elif (retry := plan_in_order(self.state, self.settings)) is not None:
            self._return_to(retry, self.state.fallback)
        elif has_spent_stake(self.state):
            self.log.restore_path()
            self.state = restore_end(self.state)
        return self.state.status is Status.RUNNING

    @in_plain_arithmetic
    def take_round(self) -> RoundEvent | None:
        """Evaluate the window and sweep it, accept the leading steps, slide; None where a step is not finite."""
        settings = self.settings
        state = choose_skeleton(self.state, settings, self.log.entries)
        start_time = self.log.start_sweep()
        update = state.method.iterate(state.window, self.log.evaluate)
        self.log.end_sweep(start_time)
        residuals = Residuals.measure(state.window, update, settings.tolerance)
        if residuals.finite_inputs < 2:  # the input after the exact first step is not
            return self._leave_out_samples(update.inputs[1])

        accepted = residuals.count_accepted(state.threshold)
        if settings.check:
            accepted = min(accepted, residuals.count_confirmed(state.window, update, self.log.previous(state)))
        entry = self.log.add_round(state, update, residuals.sizes, accepted)

        exact = state.exact and residuals.unmoved >= accepted
        if settings.check:
            evaluate = self.log.evaluate.evaluate_apart
            state = follow_check(state, update, residuals, accepted=accepted, settings=settings, evaluate=evaluate)

        state, stop = self._choose_window(state, update, accepted, exact=exact)
        window = self._slots.slide(
            state.window, update, accepted=accepted, finite_inputs=residuals.finite_inputs, stop=stop
        )
        self.state = replace_fields(
            state,
            window=window,
            exact=exact,
            threshold=settings.tolerance.follow(state.threshold, residuals.sizes),
            logged=self.log.size,
            rounds=state.rounds + entry.rounds,
            iteration_rounds=entry.rounds,
            evaluations=state.evaluations + entry.evaluations,
            check_evaluations=state.check_evaluations + self.log.evaluate.take_apart(),
        )
        if self._fingerprint is not None and not self._fingerprint.steps:
            self._fingerprint = self._fingerprint.add_evaluation(update.evaluations)
        if update.error is not None:
            raise update.error
        return RoundEvent(entry, window.start, self._whole_length, window.state, self.checkpoint, update)

    def end(self, status: Status) -> None:
        """Let the run end where it stands: done, stopped, interrupted, not finite."""
        self.state = replace(self.state, status=status)
        if status.done or status is Status.STOPPED:
            remember_run(self._kind, self.settings.window, self.log.rounds(self.state), self.state)

    def guarded(self) -> RunGuard:
        """Show progress, and lose nothing: an interrupt ends the run, an error carries a checkpoint.

        Returns:
            A context that gives the function to report rounds to.
        """
        return RunGuard(self, self.settings.progress.track(self.state.window.start, self.problem.length))

    @in_plain_arithmetic
    def checkpoint(self) -> Checkpoint:
        """Return what is accepted so far."""
        state = self.state
        exact = state.exact and state.rounding.may_be_sequential
        shadow, memory, fingerprint = None, None, self._fingerprint
        if self.settings.check and self._deviation_is_known:
            self._settle_check()
            memory = remember_check(self.state.estimator, self.state.rounding)
            shadow = None if exact else self.state.estimator.shadow.state
        if fingerprint is not None:
            fingerprint = fingerprint.add_evaluation(state.window.previous)
            fingerprint = fingerprint.add_moves(self.problem, state.window.start, state.window.state)
        return Checkpoint(
            step=state.window.start,
            length=self._whole_length,
            state=state.window.state,
            shadow=shadow,
            check_memory=memory,
            guessed_inputs=state.window.inputs,
            rounds=state.rounds,
            evaluations=state.evaluations,
            exact=exact,
            nonfinite_samples=self.problem.excluded,
            fingerprint=fingerprint,
        )

    @in_plain_arithmetic
    def solution(self) -> Solution:
        """Return what the run has come to."""
        state = self.state
        return Solution(
            state=self._nonfinite.mark_state(state.window.start, state.window.state),
            length=self._whole_length,
            status=state.status,
            log=self.log.rounds(state),
            deviation=self._estimate_deviation() if self.settings.check else None,
            checkpoint=self.checkpoint(),
            seconds=self.log.seconds(state),
            notes=state.notes,
            states=self._nonfinite.mark_path(self.log.states(state)),
            nonfinite_samples=self.problem.excluded,
            check_evaluations=state.check_evaluations,
        )

    def _at_end(self, step: int) -> bool:
        return step >= self.problem.length

    def _leave_out_samples(self, next_input: Tensor) -> RoundEvent | None:
        """Take the round again without the samples that are not finite after its first step; end where that is all."""
        state, step = self.state, self.state.window.start
        note = self._nonfinite.leave_out(step, next_input)
        if note is None:
            self.end(Status.NONFINITE)
            return None
        window = open_window(self._slots, self.settings, step, state.window.state, log=self.log.entries)
        self.state = replace(state, window=window, notes=(*state.notes, note))
        return self.take_round()

    def _choose_window(
        self, state: SolveState, update: WindowUpdate, accepted: int, *, exact: bool
    ) -> tuple[SolveState, int]:
        """Return the state with the method for the next window, and the step where that shall end."""
        start, length = state.window.start + accepted, self.problem.length
        if state.leads:
            state = replace(state, method=self.settings.method, leads=False)
        if isinstance(state.method, Sequential) or self._at_end(start):
            return state, state.method.stop(start, start + 1)
        rounds = state.rounds + self.log.entries[-1].rounds
        if takes_too_many(state, rounds, start):
            note = TOO_MANY.format(type(state.method).__name__, rounds, start)
            estimator = state.estimator.follow_waiting()
            state = replace(state, estimator=estimator, method=Sequential(), notes=(*state.notes, note))
            return state, state.method.stop(start, start + 1)
        width = self.settings.window.width(self.log.entries, length)
        if width < 1:
            estimator = state.estimator.follow_waiting()
            reasons = self._explain_declining(estimator, start, update.states[accepted - 1], exact=exact)
            notes = (*state.notes, *reasons)
            reason = reasons[0] if reasons else None
            state = replace(state, estimator=estimator, method=Sequential(), notes=notes, reason=reason)
        return state, state.method.stop(start, min(start + max(width, 1), length))

    def _explain_declining(self, estimator: DeviationEstimator, step: int, state: Tree, *, exact: bool) -> list[str]:
        """Return the sentences there are to say where the window declines at a step."""
        note = self.settings.window.note(self.log.entries, self.problem.length)
        if not note:
            return []
        if not self.settings.check or exact:
            return [note]
        drift = largest_size(estimator.estimate_deviation(self.settings.tolerance, step, state))
        return [note, CARRIED_DRIFT.format(drift, step)]

    @in_plain_arithmetic
    def _settle(self) -> None:
        """At the end of the path: say how it ended, or go back where the deviation is more than was asked for."""
        excess = 0.0
        if self.settings.check:
            self.state, excess = measure_excess(self.state, self.settings, self.log.evaluate)
        is_known = self._deviation_is_known
        status = judge_end(self.state, self.settings, excess=excess, deviation_is_known=is_known)
        retry = None
        if status is Status.RUNNING:
            retry = plan_retry(self.state, self.settings, excess)
        if retry is None:
            self._end_path(status, excess)
            return
        self.log.keep_path()
        self._slots = retrace_slots(self._slots, self.state, self.settings)
        self._return_to(retry, replace(self.state, fallback=None))

    def _end_path(self, status: Status, excess: float) -> None:
        """Let the run end at the end of its path; uncertain where it should go back and may not."""
        if status in {Status.RUNNING, Status.UNCERTAIN}:
            reason = explain_uncertain(self.state, self.settings, excess)
            self.state = replace(self.state, status=Status.UNCERTAIN, notes=(*self.state.notes, reason))
        else:
            self.end(status)

    def _return_to(self, retry: Retry, fallback: SolveState | None) -> None:
        """Go on from a restart point, with a path to return to where that comes to nothing."""
        state = return_to_restart_point(self.state, retry, began_exact=self._began_exact)
        restart_point = retry.estimator.restart_points[-1]
        window = open_window(self._slots, self.settings, restart_point.step, restart_point.state, log=self.log.entries)
        self.state = replace(state, window=window, fallback=fallback)

    def _estimate_deviation(self) -> Tensor:
        """Return the estimated distance `(*batch,)` of the accepted state from the sequential run's."""
        self._settle_check()
        return estimate_deviation(self.state, self.settings)

    def _settle_check(self) -> None:
        """Let the check follow all accepted steps."""
        self.state = settle_check(self.state, self.settings)
