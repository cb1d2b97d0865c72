"""The verdict at the end of the path: how a solve ended, or from where and how it goes on, sent back by the check."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from forerun.engine.check import DeviationEstimator, RoundingEstimate, largest_size
from forerun.engine.methods import Method, Sequential
from forerun.engine.options import SolveSettings
from forerun.engine.rows import Problem
from forerun.engine.solution import Status
from forerun.engine.solve_state import SolveState

TIGHTEST_SHARE = 1e-3  # of the present threshold, below which one retry does not go
ROUNDING_MARGIN = 4  # a threshold this many times rounding is as tight as any that can be kept


@dataclass(frozen=True)
class Retry:
    """How a solve goes on after the check has sent it back.

    Attributes:
        estimator: at the restart point, the last of its own.
        method: how outputs become the next path from there on.
        threshold: the largest residual with which a step is accepted from there on.
        count: how often the run has been sent back, this time included.
        note: a sentence that says so.
    """

    estimator: DeviationEstimator
    method: Method
    threshold: float
    count: int
    note: str


def judge_end(state: SolveState, settings: SolveSettings, *, excess: float, deviation_is_known: bool) -> Status:
    """Return how a solve stands at the end of its path; `RUNNING` where it must go back.

    Args:
        state: at the end of the path.
        settings: of the solve.
        excess: the largest deviation that is estimated, in the norm of the tolerance.
        deviation_is_known: whether the deviation was known where the run began.
    """
    if state.exact and state.rounding.is_sequential:
        return Status.SEQUENTIAL
    if settings.check is None:
        return Status.UNCHECKED
    if state.exact and excess > settings.tolerance.threshold():
        return Status.UNCERTAIN
    if excess <= settings.tolerance.threshold():
        return Status.CHECKED if deviation_is_known else Status.UNCHECKED
    restart_points = state.estimator.restart_points
    # a drift from before the checkpoint that was resumed cannot be helped
    starts_at_end = restart_points[0].step == state.window.problem.length
    retries = settings.check.retries
    if starts_at_end or isinstance(settings.method, Sequential) or not retries or state.retries > retries:
        return Status.UNCERTAIN
    return Status.RUNNING


def plan_retry(state: SolveState, settings: SolveSettings, excess: float) -> Retry:
    """Plan to go back to the first step to blame, with a tighter threshold; to the beginning where none would do.

    Args:
        state: at the end of the path.
        settings: of the solve; its `check` is not None.
        excess: the largest deviation that is estimated, in the norm of the tolerance.
    """
    assert settings.check is not None, "only a check sends a run back"
    tolerance_value = settings.tolerance.threshold()
    threshold = state.threshold * max(tolerance_value / (4 * excess), TIGHTEST_SHARE)
    count = state.retries + 1
    allowed = settings.check.retries
    problem, estimator = state.window.problem, state.estimator
    method: Method
    if count > allowed or threshold <= ROUNDING_MARGIN * _rounding(problem, state, settings):
        method, count = Sequential(), allowed + 1
        estimator = estimator.go_to_start()
        continuation = "goes on step by step, as no tolerance that rounding allows would keep it"
    else:
        method = settings.method
        estimator = estimator.go_back(settings.tolerance, excess, tolerance_value)
        continuation = f"goes on with the threshold of a step at {threshold:.2g}"
    step = estimator.restart_points[-1].step
    note = (
        f"deviation estimated at {excess:.2g} for {tolerance_value:.2g}: went back to step {step} and {continuation}."
    )
    return Retry(estimator, method, threshold, count, note)


def return_to_restart_point(state: SolveState, retry: Retry, *, began_exact: bool) -> SolveState:
    """Return the state of a solve at the restart point of a retry, but for its window, which is filled again.

    Args:
        state: at the end of the path.
        retry: how to go on.
        began_exact: whether the run began on the sequential path.
    """
    restart_point = retry.estimator.restart_points[-1]
    return replace(
        state,
        estimator=retry.estimator,
        method=retry.method,
        threshold=retry.threshold,
        retries=retry.count,
        exact=restart_point.shadow is restart_point.state and began_exact,
        rounding=RoundingEstimate(),
        notes=(*state.notes, retry.note),
    )


def _rounding(problem: Problem, state: SolveState, settings: SolveSettings) -> float:
    """Return the size of rounding at the end of the path, in the norm of the tolerance."""
    epsilon = torch.finfo(problem.input_layout.dtype).eps
    last_input = problem.observe(state.window.state).unsqueeze(0)
    last_step = problem.step_range(problem.length - 1, problem.length)
    return largest_size(settings.tolerance.norm(last_step, epsilon * last_input, last_input))
