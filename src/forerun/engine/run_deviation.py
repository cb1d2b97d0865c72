"""The deviation of a run: what the check makes of every round, and what it says at the end of the path."""

from __future__ import annotations

from math import hypot
from typing import Final

import torch
from torch import Tensor

from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.check import largest_size
from forerun.engine.check.sampled_end import measure_farthest, sample_end
from forerun.engine.check.sampled_steps import EvaluateApart
from forerun.engine.methods import WindowUpdate
from forerun.engine.nonfinite_samples import ignore_samples
from forerun.engine.numerics.replaced_fields import replace_fields
from forerun.engine.options import SolveSettings
from forerun.engine.residuals import Residuals
from forerun.engine.run_rounding import measure_rounding
from forerun.engine.solve_state import SolveState

LEFT_OVER_ROUNDINGS: Final = 64.0  # at the end of the path, below which samples alone do not send a run back

FEW_ROUNDS: Final = 3  # that show hardly more than one direction of a step's slopes
FADED_LOG_GAIN: Final = -2.0  # of distances along the path
NEAR_LIMIT: Final = 0.9  # of what was asked for, to which estimate and samples may come together without an audit
REACH_MARGIN: Final = 3.0  # times the reach by the Jacobians of the check, that the measured one may be
LEAST_REACHED: Final = 0.5  # of what was asked for, to which an estimate must come by its reach to be worth an audit
SAMPLES_MARGIN: Final = 2.0  # of what samples leave over, which is more than the truth in most runs


def follow_check(
    state: SolveState,
    update: WindowUpdate,
    residuals: Residuals,
    *,
    accepted: int,
    settings: SolveSettings,
    evaluate: EvaluateApart,
) -> SolveState:
    """Return the state with what the accepted steps of a round show of deviation and rounding.

    Args:
        state: before the round.
        update: what the method made of its window.
        residuals: how far the inputs moved.
        accepted: number of steps accepted.
        settings: of the solve.
        evaluate: evaluates a few steps, outside the rounds.
    """
    unmoved = residuals.unmoved >= accepted
    exact = state.exact and unmoved
    estimator = state.estimator.follow_steps(
        state.window,
        update,
        accepted=accepted,
        exact=exact,
        unmoved=unmoved,
        sound=residuals.count_sound(accepted),
        closely=is_thorough(settings),
        evaluate=evaluate,
    )
    rounding = state.rounding.follow_steps(
        state.window,
        update,
        accepted=accepted,
        moved=not exact,
        tolerance=settings.tolerance,
        evaluate=evaluate,
    )
    return replace_fields(state, estimator=estimator, rounding=rounding)


def is_thorough(settings: SolveSettings) -> bool:
    """Return whether the check of a solve is a thorough one."""
    return settings.check is not None and settings.check.thorough


def settle_check(state: SolveState, settings: SolveSettings) -> SolveState:
    """Return the state once its check has followed all accepted steps."""
    window = state.window
    rounding = state.rounding.settle_sizes(window.problem, settings.tolerance, window.state)
    return replace_fields(state, estimator=state.estimator.follow_waiting(), rounding=rounding)


def estimate_deviation(state: SolveState, settings: SolveSettings) -> Tensor:
    """Return the estimated distance `(*batch,)` of the accepted state from the sequential run's.

    The check must be settled.
    """
    problem = state.window.problem
    if state.exact:
        rounding = state.rounding.measure_deviation()
        return torch.full(problem.input_layout.batch, rounding, device=problem.input_layout.device)
    step = min(state.window.start, problem.length - 1)
    deviation = state.estimator.estimate_deviation(settings.tolerance, step, state.window.state)
    return ignore_samples(problem, deviation)


def measure_excess(state: SolveState, settings: SolveSettings, evaluate: CountedEvaluate) -> tuple[SolveState, float]:
    """Return the state at the end of the path, its samples evaluated, and the largest deviation estimated there.

    Where samples leave over more than was asked for, or the estimate says so, all steps are evaluated again; where that
    is not possible, what samples leave over counts. An audit for less would cost a friendly run a third on top.
    """
    state = settle_check(state, settings)
    excess = largest_size(estimate_deviation(state, settings))
    if state.exact:
        return state, excess
    asked = settings.tolerance.threshold()
    state, sampled, reach_ratio = sample_run(state, settings, evaluate)
    is_farther = reach_ratio > REACH_MARGIN and excess * reach_ratio > LEAST_REACHED * asked
    is_cautious = is_farther or _fades_unseen(state)
    is_distrusted = is_cautious or state.estimator.shadow.left_path or state.retries > 0 or is_thorough(settings)
    needs_audit = is_distrusted or not hypot(excess, sampled) <= NEAR_LIMIT * asked
    if needs_audit and state.estimator.shadow.path.is_whole:
        state = audit_run(state, evaluate, is_cautious=is_cautious)
        excess = largest_size(estimate_deviation(state, settings))
        return state, max(excess, _measure_farthest(state, settings))
    return state, max(excess, sampled)


def _measure_farthest(state: SolveState, settings: SolveSettings) -> float:
    """Return the deviation on the way, where it is so large that what slopes make of it at the end means little."""
    farthest = measure_farthest(state.estimator, settings.tolerance)
    if farthest is None:
        return 0.0
    return largest_size(ignore_samples(state.window.problem, farthest))


def sample_run(
    state: SolveState, settings: SolveSettings, evaluate: CountedEvaluate
) -> tuple[SolveState, float, float]:
    """Return the state with its samples evaluated, and what these say.

    Returns:
        The state, what the samples leave over, zero where that may be rounding, and how many times farther distances
        reach than the estimate takes them to.
    """
    problem = state.window.problem
    step = min(state.window.start, problem.length - 1)
    end = sample_end(
        state.estimator,
        settings.tolerance,
        step=step,
        state=state.window.state,
        evaluate=evaluate.evaluate_apart,
        probes_alone=is_thorough(settings),
    )
    count = state.check_evaluations + evaluate.take_apart()
    state = replace_fields(state, check_evaluations=count, left_over=end.left_over)
    sampled = largest_size(ignore_samples(problem, end.left_over)) / SAMPLES_MARGIN
    if sampled <= LEFT_OVER_ROUNDINGS * measure_rounding(problem, state, settings):
        return state, 0.0, end.reach_ratio  # a sampled evaluation rounds too, and stands for many steps
    return state, sampled, end.reach_ratio


def _fades_unseen(state: SolveState) -> bool:
    """Return whether the estimate fades along the path by slopes that so few rounds cannot have shown."""
    log_gain = state.estimator.shadow.total_log_gain
    return state.rounds <= FEW_ROUNDS and bool((log_gain < FADED_LOG_GAIN).any())


def audit_run(state: SolveState, evaluate: CountedEvaluate, *, is_cautious: bool) -> SolveState:
    """Return the state with all of its accepted steps evaluated again; the check must be settled."""
    estimator = state.estimator.audit_path(evaluate.evaluate_apart, is_cautious=is_cautious)
    count = state.check_evaluations + evaluate.take_apart()
    return replace_fields(state, estimator=estimator, check_evaluations=count, left_over=None)
