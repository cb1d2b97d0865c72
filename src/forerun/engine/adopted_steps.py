"""Adopted steps: those that the caller of a run takes by itself, in its own loop, once the window has declined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from forerun.engine.check import largest_size
from forerun.engine.methods import Sequential, WindowState
from forerun.engine.numerics.autocast import in_plain_arithmetic
from forerun.engine.numerics.tree import Tree
from forerun.engine.run import SolveRun
from forerun.engine.run_deviation import estimate_deviation, is_thorough, measure_excess, settle_check
from forerun.engine.solution import Solution, Status
from forerun.engine.verdict import explain_uncertain, judge_end

ADOPTED_STEPS_A_SAMPLE: Final = 64  # of which one is taken again, to see how the drift grows
SMALL_DRIFT_SHARE: Final = 0.25  # of the tolerance, up to which a run may be handed back: nothing goes back after that


@in_plain_arithmetic
def may_hand_back(run: SolveRun) -> bool:
    """Return whether the caller's own loop may take over from the accepted state, with nothing to go back for."""
    is_in_order = isinstance(run.state.method, Sequential) and not isinstance(run.settings.method, Sequential)
    has_declined = is_in_order and not run.state.leads
    if not has_declined or is_thorough(run.settings) or run.state.window.start >= run.problem.length:
        return False
    if not run.settings.check:
        return True
    run.state = settle_check(run.state, run.settings)
    drift = largest_size(estimate_deviation(run.state, run.settings))
    return drift <= SMALL_DRIFT_SHARE * run.settings.tolerance.threshold()


def carries_drift(run: SolveRun) -> bool:
    """Return whether steps that follow carry a drift on, so that their states are wanted."""
    return bool(run.settings.check) and not run.state.exact


@in_plain_arithmetic
def adopt_steps(run: SolveRun, states: Sequence[Tree], stop: int) -> None:
    """Take over the steps up to `stop`, which the caller took from where the run stands, each from its exact state.

    Args:
        run: its window has declined.
        states: from that before the first of these steps to that after the last; where `carries_drift` is False, the
            last alone.
        stop: the step after the last.
    """
    state, problem = run.state, run.problem
    estimator = state.estimator
    if carries_drift(run):
        evaluate = run.log.evaluate
        shadow = estimator.shadow.follow_steps_in_order(
            state.window.start,
            states,
            evaluate.evaluate_apart,
            closely=False,
            steps_a_sample=ADOPTED_STEPS_A_SAMPLE,
        )
        estimator = replace(estimator, shadow=shadow)
        state = replace(state, check_evaluations=state.check_evaluations + evaluate.take_apart())
    inputs = problem.observe(states[-1]).unsqueeze(0)
    run.state = replace(state, window=WindowState(problem, stop, [states[-1]], inputs), estimator=estimator)


@in_plain_arithmetic
def judge_adopted(run: SolveRun) -> Solution:
    """Return the solution of a run whose steps were adopted up to its end: what is known of its deviation there."""
    state, excess = run.state, 0.0
    if run.settings.check:
        state, excess = measure_excess(state, run.settings, run.log.evaluate)
    status = judge_end(state, run.settings, excess=excess, deviation_is_known=True)
    notes = state.notes
    if status in {Status.RUNNING, Status.UNCERTAIN}:  # the caller's own loop does not go back
        status = Status.UNCERTAIN
        notes = (*notes, explain_uncertain(state, run.settings, excess))
    run.state = replace(state, status=status, notes=notes)
    return run.solution()
