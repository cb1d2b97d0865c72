"""RoundingEstimate: how far rounding alone may take a run whose steps never moved from the sequential run.

Such a run is the sequential one where its bits are: `advance(i, x_i, o_i)`, with `o_i` evaluated singly, gives the bits
of `x_{i+1}` at steps drawn at random. Where they differ, each step errs by rounding, `eps |x|`, and that grows as a
random shift of the sampled states does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, log
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.check.arithmetic_drift import ArithmeticDrift
from forerun.engine.check.followed_shift import FollowedShift
from forerun.engine.check.rounding_sizes import RoundingSizes
from forerun.engine.check.sampled_steps import (
    LARGEST_EXPONENT,
    SMALLEST_SHIFT,
    EvaluateApart,
    advance_shifted,
    choose_samples,
    draw_direction,
    draw_steps,
    measure_growth,
    share_of_steps,
    shift_state,
)
from forerun.engine.check.state_distance import largest_size
from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.numerics.layout import are_same_value
from forerun.engine.numerics.replaced_fields import replace_fields
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.rows import Problem
from forerun.engine.tolerance import Tolerance

STEPS_SHIFTED_TOGETHER: Final = 4  # that wait for one another, but for the first
FEW_GROWTHS: Final = 3  # below which their mean says little of a whole path
MOST_SINGLE_STEPS: Final = 8  # of a run that are evaluated singly
MOVED_ROUNDING: Final = 0.35  # of eps |x|, that a step of a sweep differs by from the plain loop's
SINGLE_SHARE_OF_SLOW_RUNS: Final = 0.25  # of the accepted steps, where rounding may matter
FEW_STEPS_A_ROUND: Final = 4  # that such a run accepts at most
ROUNDS_WITHOUT_TEST: Final = 6  # after which a step is evaluated singly, if none was
AMPLIFICATION: Final = 100.0  # of rounding along a path
ENOUGH_ALIGNED: Final = 24  # growths of shifts that have turned
LARGEST_DEVIATION: Final = 1e30  # that is still a number in float32


@dataclass(frozen=True)
class RoundingEstimate:
    """What is known of rounding in the steps accepted so far, none of which moved.

    Attributes:
        together: a step was evaluated together with others, so that its bits may differ.
        rounds: in which one was.
        tested: steps that were evaluated singly.
        stable: all of these gave the bits of the run.
        stable_until: the last step that gave the bits of the run before one that did not.
        log_growth: logarithms of the growth of a random shift in a step, one a sampled step.
        unshifted: sampled steps, with their states, whose growth is not measured yet.
        sizes: of the rounding of one step.
        aligned_growth: logarithms of the growth of shifts that were followed until they had turned.
        shift: one that is followed at present; None where none is.
        drift: of the accepted rows from the step's own arithmetic.
        drift_size: its size in the norm of the tolerance, once that was measured.
    """

    together: bool = False
    rounds: int = 0
    tested: int = 0
    stable: bool = True
    stable_until: int = 0
    log_growth: tuple[float, ...] = ()
    unshifted: tuple[tuple[int, Tree], ...] = ()
    sizes: RoundingSizes = field(default_factory=RoundingSizes)
    aligned_growth: tuple[float, ...] = ()
    shift: FollowedShift | None = None
    drift: ArithmeticDrift = field(default_factory=ArithmeticDrift)
    drift_size: float = 0.0

    @property
    def may_be_sequential(self) -> bool:
        """Whether nothing says that the run so far is not the sequential one."""
        return not self.together or self.stable

    @property
    def is_sequential(self) -> bool:
        """Whether the run so far is the sequential one, as far as was tested."""
        return not self.together or (self.stable and self.tested > 0)

    def follow_steps(
        self,
        window_state: WindowState,
        update: WindowUpdate,
        *,
        accepted: int,
        moved: bool,
        tolerance: Tolerance,
        evaluate: EvaluateApart,
    ) -> RoundingEstimate:
        """Return the estimate after the accepted steps of a round, some of them evaluated singly."""
        problem = window_state.problem
        sizes = self.sizes.add_round(problem, tolerance, update, accepted)
        if update.moves.shape[0] < 2 or update.in_order:
            estimate = replace_fields(self, sizes=sizes)._follow_in_order(window_state, update, accepted, evaluate)
            return estimate._measure_growth(problem, evaluate)
        drift = self.drift.add_round(window_state, update, accepted)
        estimate = replace_fields(self, together=True, rounds=self.rounds + 1, sizes=sizes, drift=drift)
        if self.shift is not None:
            estimate = estimate._follow_shift(window_state, update, accepted, evaluate)
        stop = window_state.start + accepted
        may_matter = not moved and self._may_matter(problem, tolerance)
        steps = self._choose_steps(window_state, accepted, may_matter=may_matter)
        for step in steps:
            estimate = estimate._test_step(window_state, update, step, evaluate, moved=moved)
        if steps:
            estimate = estimate._begin_shift(stop)
        if stop < problem.length and not estimate._is_growth_due(moved=moved):
            return estimate
        return estimate._measure_growth(problem, evaluate)

    def _choose_steps(self, window_state: WindowState, accepted: int, *, may_matter: bool) -> list[int]:
        """Return accepted steps to evaluate singly: one at least, before a run ends of which none was.

        More of them while rounding may matter in a run that never moved and takes about a round a step anyway.
        """
        start, length = window_state.start, window_state.problem.length
        share = share_of_steps(length, MOST_SINGLE_STEPS)
        if may_matter and self.stable and start + accepted <= FEW_STEPS_A_ROUND * (self.rounds + 1):
            share = SINGLE_SHARE_OF_SLOW_RUNS
        steps = choose_samples(start, start + accepted, share)
        is_late = accepted > 1 or window_state.stop == length or self.rounds >= ROUNDS_WITHOUT_TEST
        if not steps and self.tested == 0 and is_late:
            steps = draw_steps(start, accepted, share, least=1)
        return steps

    def _may_matter(self, problem: Problem, tolerance: Tolerance) -> bool:
        """Return whether rounding, amplified as it may be, could come to what was asked for."""
        epsilon = torch.finfo(problem.input_layout.dtype).eps
        return epsilon * problem.length * AMPLIFICATION > tolerance.threshold()

    def settle_sizes(self, problem: Problem, tolerance: Tolerance, state: Tree) -> RoundingEstimate:
        """Return the estimate when the rounding of all accepted steps is measured, the last of which gave `state`."""
        sizes = self.sizes.measure_waiting(problem, tolerance, state)
        drift = self.drift.measure_waiting()
        if drift.total is None:
            return replace_fields(self, sizes=sizes)
        row = problem.observe(state).unsqueeze(0)
        last_step = problem.step_range(problem.length - 1, problem.length)
        drift_size = largest_size(tolerance.norm(last_step, drift.total.unsqueeze(0), row))
        return replace_fields(self, sizes=sizes, drift=drift, drift_size=drift_size)

    def measure_deviation(self, other_growth: float = inf, *, moved: bool = False) -> float:
        """Return how far rounding may have taken the run, in the norm of the tolerance.

        Args:
            other_growth: logarithm of the growth in a step by another estimate, which bounds that of a few samples.
            moved: whether accepted steps moved: their sweep rounds otherwise than the plain loop, whatever bits say.
        """
        if self.is_sequential and not moved:
            return self.drift_size
        growths = self.aligned_growth or self.log_growth
        mean_growth = sum(growths) / max(len(growths), 1)
        if moved or len(growths) < FEW_GROWTHS:
            mean_growth = min(mean_growth, other_growth)
        sizes = self.sizes.spread_sizes()
        steps_left = torch.arange(len(sizes) - 1, -1, -1, dtype=torch.float64)
        growth = (mean_growth * steps_left).clamp_max(LARGEST_EXPONENT).exp()
        share = MOVED_ROUNDING if moved else 1.0
        is_rounded = torch.arange(len(sizes)) >= (0 if moved else self.stable_until)
        deviation = share * float(torch.linalg.vector_norm(sizes * growth * is_rounded))
        return min(max(deviation, self.drift_size), LARGEST_DEVIATION)

    def _follow_in_order(
        self, window_state: WindowState, update: WindowUpdate, accepted: int, evaluate: EvaluateApart
    ) -> RoundingEstimate:
        """Return the estimate with a shift followed through steps that were taken in order, where bits differ."""
        if self.stable or len(self.aligned_growth) >= ENOUGH_ALIGNED:
            return self
        shift = self.shift
        if shift is None or shift.step != window_state.start:
            shift = FollowedShift(window_state.start)
        state = window_state.state
        for index in range(accepted):
            if shift.is_over:
                break
            shift = shift.follow_step(window_state.problem, state, update.states[index], evaluate)
            state = update.states[index]
        return self._keep_shift(shift)

    def _keep_shift(self, shift: FollowedShift) -> RoundingEstimate:
        """Return the estimate with a shift to follow further, or with what it has shown where it is over."""
        if not shift.is_over:
            return replace_fields(self, shift=shift)
        return replace_fields(self, shift=None, aligned_growth=(*self.aligned_growth, *shift.growths))

    def _begin_shift(self, step: int) -> RoundingEstimate:
        """Return the estimate with a shift to follow from a step on, where bits differ and none is followed."""
        if self.stable or self.shift is not None:
            return self
        return replace_fields(self, shift=FollowedShift(step))

    def _follow_shift(
        self, window_state: WindowState, update: WindowUpdate, accepted: int, evaluate: EvaluateApart
    ) -> RoundingEstimate:
        """Return the estimate with the shift one step on, where the round took one; without it where it took more."""
        assert self.shift is not None, "there is a shift to follow"
        if accepted > 1 or self.shift.step != window_state.start:
            return replace_fields(self, shift=None)
        shift = self.shift.follow_step(window_state.problem, window_state.state, update.states[0], evaluate)
        return self._keep_shift(shift)

    def _test_step(
        self,
        window_state: WindowState,
        update: WindowUpdate,
        step: int,
        evaluate: EvaluateApart,
        *,
        moved: bool,
    ) -> RoundingEstimate:
        """Return the estimate after one step was evaluated singly, and shifted where bits differ."""
        index = step - window_state.start
        state = window_state.state if index == 0 else update.states[index - 1]
        estimate = self
        if self.stable:
            if moved:
                single = evaluate(
                    torch.tensor([step], device=update.inputs.device), update.evaluations.inputs[index : index + 1]
                )
                stable = torch.equal(single[0], update.evaluations.outputs[index])
            else:
                (next_state,) = advance_shifted(window_state.problem, evaluate, [step], [state])
                stable = _has_same_bits(next_state, update.states[index])
            stable_until = step if stable else self.stable_until
            estimate = replace_fields(self, tested=self.tested + 1, stable=stable, stable_until=stable_until)
        if estimate.stable:
            return estimate
        # a copy, as a state may be a view into a whole window, which would live on with it
        waiting = (step, tree_map(torch.clone, state))
        return replace_fields(estimate, unshifted=(*estimate.unshifted, waiting))

    def _is_growth_due(self, *, moved: bool) -> bool:
        """Whether the growth of sampled steps is to be measured: of some together.

        Of the first at once, while nothing has moved: then rounding alone says how far the run is off.
        """
        waiting = len(self.unshifted)
        return waiting >= STEPS_SHIFTED_TOGETHER or (waiting > 0 and not moved and not self.log_growth)

    def _measure_growth(self, problem: Problem, evaluate: EvaluateApart) -> RoundingEstimate:
        """Return the estimate with the growth of random shifts in all sampled steps, measured in one call."""
        if not self.unshifted:
            return self
        steps, states = [], []  # each step with its state, and again with the state shifted
        for step, state in self.unshifted:
            steps += [step, step]
            states += [state, shift_state(state, draw_direction(state, step), SMALLEST_SHIFT)]
        ends = advance_shifted(problem, evaluate, steps, states)
        sizes = _measure_pairs(problem, [*states, *ends])
        log_growth = list(self.log_growth)
        for shift, next_shift in zip(sizes, sizes[len(self.unshifted) :], strict=False):
            growth = measure_growth(shift, next_shift)
            log_growth.append(log(growth) if growth < inf else LARGEST_EXPONENT)
        return replace_fields(self, log_growth=tuple(log_growth), unshifted=())


def _measure_pairs(problem: Problem, states: Sequence[Tree]) -> list[float]:
    """Return the Euclidean distance of every other state from the one before it, in what is observed."""
    rows = torch.stack([problem.observe(state) for state in states]).double().reshape(len(states), -1)
    return torch.linalg.vector_norm(rows[1::2] - rows[::2], dim=-1).tolist() if rows.numel() else [0.0] * len(states)


def _has_same_bits(left: Tree, right: Tree) -> bool:
    """Whether two states are equal in every leaf."""
    pairs: Sequence[tuple[Any, Any]] = list(zip(pytree.tree_leaves(left), pytree.tree_leaves(right), strict=True))
    for one, other in pairs:
        same = torch.equal(one, other) if isinstance(one, Tensor) else are_same_value(one, other)
        if not same:
            return False
    return True
