"""Where a solve stands: all that moves from round to round, and how it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from forerun.engine.check import DeviationEstimator, RoundingEstimate
from forerun.engine.check.check_memory import restore_check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.methods import Method, Sequential, WindowState
from forerun.engine.numerics.replaced_fields import replace_fields
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.rounds import Round
from forerun.engine.slots import SlotFiller
from forerun.engine.solution import Status

UNKNOWN_BEFORE = (
    "Nothing was checked up to step {}, where this run was resumed: the deviation is estimated from there on."
)
WORTH_A_TRIAL = 0.02  # seconds of a path, below which no window is tried


@dataclass(frozen=True)
class SolveState:
    """All that moves from round to round; replaced as a whole, so that an interrupt finds it whole.

    Attributes:
        window: the steps in flight, with the exact state of the first.
        estimator: where the sequential run is estimated to be, beside the accepted path.
        method: how outputs become the next path; `Sequential` once the window has declined.
        threshold: the largest residual with which a step is accepted in the next round.
        rounds: rounds so far.
        iteration_rounds: those of the last iteration of the method: one, for most methods.
        evaluations: evaluations so far.
        check_evaluations: steps that the check evaluated besides.
        exact: no accepted step ever moved: this is the sequential run so far, but for rounding.
        rounding: how far rounding may have taken it then, with a check.
        left_over: how far sampled steps say that the shadow may be off at the end, `(*batch,)`; None before the end.
        fallback: the end of the path as it was before the check sent the run back; None where it did not.
        returned_to: where the check sent the run back to; None where it did not.
        returned_for: the deviation that it was sent back for.
        logged: entries of the log up to here.
        retries: how often the check has sent the run back.
        notes: what the run decided on its way; sentences.
        reason: why the window declined; None where it did not.
        leads: the next round leads the window: some steps of the plain loop, which then goes on by `settings.method`.
        status: `RUNNING`, or how the run ended.
    """

    window: WindowState
    estimator: DeviationEstimator
    method: Method
    threshold: float
    rounds: int = 0
    iteration_rounds: int = 0
    evaluations: int = 0
    check_evaluations: int = 0
    exact: bool = True
    rounding: RoundingEstimate = field(default_factory=RoundingEstimate)
    left_over: Tensor | None = None
    fallback: SolveState | None = None
    returned_to: DeviationEstimator | None = None
    returned_for: float = 0.0
    logged: int = 0
    retries: int = 0
    notes: tuple[str, ...] = ()
    reason: str | None = None
    leads: bool = False
    status: Status = Status.RUNNING


def begin_solve(slots: SlotFiller, settings: SolveSettings, state: Tree, checkpoint: Checkpoint | None) -> SolveState:
    """Return where a solve begins: at step 0, or at that of a checkpoint."""
    if checkpoint is None:
        return begin_fresh(slots, settings, state)
    return begin_resumed(slots, settings, checkpoint)


def begin_fresh(slots: SlotFiller, settings: SolveSettings, state: Tree) -> SolveState:
    """Return where a solve begins: at step 0, from the first state."""
    method, note = _first_method(slots, settings)
    return SolveState(
        window=open_window(slots, replace_fields(settings, method=method), 0, state),
        estimator=DeviationEstimator.from_state(slots.problem, 0, state),
        method=method,
        leads=note is None and method is not settings.method,
        threshold=first_threshold(settings),
        notes=(note,) if note else (),
    )


def _first_method(slots: SlotFiller, settings: SolveSettings) -> tuple[Method, str | None]:
    """Return the method of the first round, and why the window has declined; None where it has not."""
    window, length = settings.window, slots.problem.length
    if isinstance(settings.method, Sequential):
        return settings.method, None
    if window.width((), length) < 1:
        return Sequential(), window.note((), length) or ""
    lead_steps = window.lead_steps(length)
    if lead_steps:
        return Sequential(lead_steps, unless_over_in=WORTH_A_TRIAL), None
    return settings.method, None


def begin_resumed(slots: SlotFiller, settings: SolveSettings, checkpoint: Checkpoint) -> SolveState:
    """Return where a solve goes on: at the step of a checkpoint, with the inputs that were guessed for the next."""
    step, state = checkpoint.step, checkpoint.state
    notes: tuple[str, ...] = ()
    if settings.check and not deviation_is_known(checkpoint):
        notes = (UNKNOWN_BEFORE.format(step),)
    method, note = settings.method, None
    if checkpoint.guessed_inputs is None:
        method, note = _first_method(slots, settings)
    estimator, rounding = (
        DeviationEstimator.from_state(slots.problem, step, state, checkpoint.shadow),
        RoundingEstimate(),
    )
    if checkpoint.check_memory is not None:
        estimator, rounding = restore_check(checkpoint.check_memory, estimator)
    return SolveState(
        window=_reopen_window(slots, replace_fields(settings, method=method), checkpoint),
        estimator=estimator,
        rounding=rounding,
        method=method,
        leads=note is None and method is not settings.method,
        threshold=first_threshold(settings),
        rounds=checkpoint.rounds,
        evaluations=checkpoint.evaluations,
        exact=checkpoint.exact,
        notes=(*notes, note) if note else notes,
    )


def deviation_is_known(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint says how far its run was from the sequential run."""
    return checkpoint.exact or checkpoint.shadow is not None


def first_threshold(settings: SolveSettings) -> float:
    """Return the threshold of the first round: a share of the tolerance, where a check adds the steps up."""
    share = settings.check.share if settings.check else 1
    return settings.tolerance.threshold() * share


def choose_skeleton(state: SolveState, settings: SolveSettings, log: Sequence[Round]) -> SolveState:
    """Return where a solve stands, its window with the steps that are evaluated in the next round."""
    window, problem = state.window, state.window.problem
    if state.method.needs_every_step or not problem.accepts_interpolation:
        return state
    density = settings.window.choose_density(log, problem.length)
    sparse = density.choose_steps(log, window.start, window.stop, problem.length)
    if sparse is None:
        return state
    return replace_fields(state, window=replace_fields(window, sparse=sparse))


def open_window(
    slots: SlotFiller, settings: SolveSettings, start: int, state: Tree, *, log: Sequence[Round] = ()
) -> WindowState:
    """Return a window that begins at an exact state, before any of its steps was evaluated.

    Args:
        slots: fills it.
        settings: of the solve.
        start: the first step.
        state: its exact state.
        log: the rounds so far, which the window's width depends on.
    """
    if start >= slots.problem.length:
        return slots.end_of_path(state)
    return slots.fill_first(start, state, _first_stop(slots, settings, start, log))


def _reopen_window(slots: SlotFiller, settings: SolveSettings, checkpoint: Checkpoint) -> WindowState:
    step, state, inputs = checkpoint.step, checkpoint.state, checkpoint.guessed_inputs
    if inputs is None or step >= slots.problem.length:
        return open_window(slots, settings, step, state)
    stop = _first_stop(slots, settings, step, ())
    return slots.fill_from_inputs(step, state, inputs[: stop - step])


def _first_stop(slots: SlotFiller, settings: SolveSettings, start: int, log: Sequence[Round]) -> int:
    length = slots.problem.length
    width = max(settings.window.width(log, length), 1)
    return settings.method.stop(start, min(start + width, length))
