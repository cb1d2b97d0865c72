"""The verdict at the end of the path: how a solve ended, or from where and how it goes on, sent back by the check."""

from __future__ import annotations

from dataclasses import dataclass, replace

from forerun.engine.check import DeviationEstimator, RoundingEstimate, largest_size
from forerun.engine.guesses import Retraced
from forerun.engine.methods import Method, Sequential
from forerun.engine.options import SolveSettings
from forerun.engine.run_rounding import measure_rounding, measure_run_rounding, rounds_states
from forerun.engine.slots import SlotFiller
from forerun.engine.solution import Status
from forerun.engine.solve_state import SolveState

STAKE_OF_GOING_BACK = 0.5  # of the steps: rounds beyond one a step, in all
MOST_ROUNDS_OF_A_METHOD = 1.5  # a step, with the steps that are left: beyond, these are taken in order
TOO_MANY = "{} took {} rounds for {} steps: the steps from there on are taken in order."
GAVE_UP = (
    "After {} rounds in all going back would cost more than the plain loop: the path is the one before it, whose "
    "deviation may be more than was asked for; pass method=Sequential(), or the state in a finer dtype."
)
NEGLIGIBLE_ROUNDING = 1e-2  # of what was asked for, that the sequential run may differ by and still be called so
IN_ORDER_AFTER_ALL = (
    "After {} rounds in all the steps from {} on are taken in order, while the stake still pays for it."
)
ROUNDING_DECIDES = (
    "Rounding alone may move the end of this path by {:.2g}, more than the {:.2g} asked for, in the plain loop too: "
    "pass the state in a finer dtype, or ask for a larger tolerance."
)
SLOPES_REFUTED = (
    "Steps that were evaluated again do not follow their slopes: by them the deviation may be {:.2g}, for {:.2g} asked "
    "for; tighten the tolerance, or pass method=Sequential()."
)
STAKE_SPENT = (
    "The deviation is estimated at {:.2g}, for {:.2g} asked for, and what may be spent on going back is spent; tighten "
    "the tolerance, or pass method=Sequential()."
)
LITTLE_HELP = 0.8  # of the deviation before, that is left of it after going back
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
        excess: the deviation that the run is sent back for.
    """

    estimator: DeviationEstimator
    method: Method
    threshold: float
    count: int
    note: str
    excess: float = 0.0


def judge_end(state: SolveState, settings: SolveSettings, *, excess: float, deviation_is_known: bool) -> Status:
    """Return how a solve stands at the end of its path; `RUNNING` where it must go back.

    Args:
        state: at the end of the path.
        settings: of the solve.
        excess: the largest deviation that is estimated, in the norm of the tolerance.
        deviation_is_known: whether the deviation was known where the run began.
    """
    asked = settings.tolerance.threshold()
    rounding = measure_run_rounding(state)
    if state.exact and state.rounding.is_sequential and rounding <= NEGLIGIBLE_ROUNDING * asked:
        return Status.SEQUENTIAL
    if settings.check is None:
        return Status.UNCHECKED
    if max(excess, rounding) <= asked:
        return Status.CHECKED if deviation_is_known else Status.UNCHECKED
    return Status.RUNNING if _would_gain(state, settings, rounding=rounding, excess=excess) else Status.UNCERTAIN


def _would_gain(state: SolveState, settings: SolveSettings, *, rounding: float, excess: float) -> bool:
    """Return whether going back may help a run whose deviation or rounding is more than was asked for."""
    asked = settings.tolerance.threshold()
    if excess <= asked and not (state.exact or rounds_states(state)):
        return False  # by rounding alone, which the plain loop has as well: another pass would not pay
    if not _may_go_back(state, settings):
        return False
    # rounding only the plain loop helps
    return rounding <= asked or may_go_in_order(state, state.estimator.restart_points[0].step)


def explain_uncertain(state: SolveState, settings: SolveSettings, excess: float) -> str:
    """Return the sentence that says why a run ends without its deviation known to be what was asked for.

    Args:
        state: at the end of the path.
        settings: of the solve.
        excess: the largest deviation that is estimated, in the norm of the tolerance.
    """
    asked = settings.tolerance.threshold()
    rounding = measure_run_rounding(state)
    if rounding > asked:
        return ROUNDING_DECIDES.format(rounding, asked)
    if state.left_over is not None and largest_size(state.left_over) >= excess:
        return SLOPES_REFUTED.format(excess, asked)
    return STAKE_SPENT.format(excess, asked)


def _may_go_back(state: SolveState, settings: SolveSettings) -> bool:
    """Return whether a run whose deviation is more than was asked for may be sent back."""
    assert settings.check is not None, "only a check sends a run back"
    length = state.window.problem.length
    # a drift from before the checkpoint that was resumed cannot be helped
    if state.estimator.restart_points[0].step == length or isinstance(settings.method, Sequential):
        return False
    return 0 < settings.check.retries >= state.retries and state.rounds < most_rounds(length)


def most_rounds(length: int) -> float:
    """Return how many rounds a run may take in all because the check sent it back."""
    return length + max(STAKE_OF_GOING_BACK * length, 2.0)


def takes_too_many(state: SolveState, rounds: int, step: int) -> bool:
    """Return whether a method takes so many rounds for the steps it accepts that the rest is better taken in order.

    Only a method that calls evaluate several times an iteration does; what a check spends has a stake of its own.

    Args:
        state: before the round.
        rounds: so far, this one included.
        step: up to which all is accepted.
    """
    if state.fallback is not None or isinstance(state.method, Sequential):
        return False
    length = state.window.problem.length
    return rounds + length - step > MOST_ROUNDS_OF_A_METHOD * length


def may_go_in_order(state: SolveState, step: int) -> bool:
    """Return whether a run may still take the steps from `step` on in order, after the rounds so far."""
    length = state.window.problem.length
    return state.rounds + length - step <= most_rounds(length)


def plan_in_order(state: SolveState, settings: SolveSettings) -> Retry | None:
    """Return how a run that was sent back goes on in order, at the last moment that the stake still pays for it."""
    if state.returned_to is None or isinstance(state.method, Sequential) or settings.check is None:
        return None
    length, step = state.window.problem.length, state.returned_to.restart_points[-1].step
    rounds = state.rounds + length - step
    if state.window.start >= length or not rounds <= most_rounds(length) < rounds + max(state.iteration_rounds, 1):
        return None
    note = IN_ORDER_AFTER_ALL.format(state.rounds, step)
    count = settings.check.retries + 1
    return Retry(state.returned_to, Sequential(), state.threshold, count, note, state.returned_for)


def has_spent_stake(state: SolveState) -> bool:
    """Return whether a run that was sent back has taken as many rounds as it may, and is not at its end."""
    length, start = state.window.problem.length, state.window.start
    if state.fallback is None or start >= length:
        return False
    if isinstance(state.method, Sequential):  # a window may have declined
        return not may_go_in_order(state, start)
    return state.rounds >= most_rounds(length)


def restore_end(state: SolveState) -> SolveState:
    """Return the end of the path as it was before the check sent the run back, which the stake does not pay for."""
    assert state.fallback is not None, "the run was not sent back"
    return replace(
        state.fallback,
        rounds=state.rounds,
        evaluations=state.evaluations,
        check_evaluations=state.check_evaluations,
        logged=state.logged,
        notes=(*state.notes, GAVE_UP.format(state.rounds)),
        status=Status.UNCERTAIN,
    )


def plan_retry(state: SolveState, settings: SolveSettings, excess: float) -> Retry | None:
    """Plan to go back to the first step to blame, with a tighter threshold; to the beginning where none would do.

    None where what is left of the stake does not pay for it.

    Args:
        state: at the end of the path.
        settings: of the solve; its `check` is not None.
        excess: the largest deviation that is estimated, in the norm of the tolerance.
    """
    assert settings.check is not None, "only a check sends a run back"
    tolerance_value = settings.tolerance.threshold()
    threshold = state.threshold * max(tolerance_value / (4 * max(excess, tolerance_value)), TIGHTEST_SHARE)
    count = state.retries + 1
    allowed = settings.check.retries
    problem, estimator = state.window.problem, state.estimator
    method: Method
    is_rounding = measure_run_rounding(state) > tolerance_value
    if count > allowed or is_rounding or threshold <= ROUNDING_MARGIN * measure_rounding(problem, state, settings):
        method, count = Sequential(), allowed + 1
        if may_go_in_order(state, estimator.restart_points[0].step):
            estimator = estimator.go_to_start()
        else:
            estimator = estimator.go_back(settings.tolerance, excess, tolerance_value)
        continuation = "goes on step by step, as no tolerance that rounding allows would keep it"
    else:
        method = settings.method
        if _has_helped(state, excess) and state.left_over is None:
            estimator = estimator.go_back(settings.tolerance, excess, tolerance_value)
        else:
            estimator = estimator.go_to_start()  # no restart point is sounder than the estimate that samples refute
        continuation = f"goes on with the threshold of a step at {threshold:.2g}"
    step = estimator.restart_points[-1].step
    if _comes_from_before(state, excess, step):
        return None
    if isinstance(method, Sequential) and not may_go_in_order(state, step):
        return None
    note = (
        f"deviation estimated at {excess:.2g} for {tolerance_value:.2g}: went back to step {step} and {continuation}."
    )
    return Retry(estimator, method, threshold, count, note, excess)


def _has_helped(state: SolveState, excess: float) -> bool:
    """Return whether going back helped, the last time that the run was sent back."""
    return state.returned_to is None or excess <= LITTLE_HELP * state.returned_for


def _comes_from_before(state: SolveState, excess: float, step: int) -> bool:
    """Return whether the run went back to a step in vain, as far as it can: what it has drifted is from before."""
    if _has_helped(state, excess) or state.returned_to is None:
        return False
    first_step = state.estimator.restart_points[0].step
    return 0 < first_step == step == state.returned_to.restart_points[-1].step


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
        left_over=None,
        fallback=replace(state, fallback=None),
        returned_to=retry.estimator,
        returned_for=retry.excess,
        notes=(*state.notes, retry.note),
    )


def retrace_slots(slots: SlotFiller, state: SolveState, settings: SolveSettings) -> SlotFiller:
    """Return what fills the windows of a run that is sent back: the path of the pass before, where that was kept."""
    estimator, process = state.estimator, state.window.problem.process
    if estimator.retraced is None or process.observe(state.window.state) is not state.window.state:
        return slots
    guess = Retraced(estimator.shadow.path.step, estimator.retraced, settings.guess)
    return replace(slots, guess=guess)
