"""Run: where a solve stands, and how it accepts, slides, goes back and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.check.deviation_estimator import DeviationEstimator, largest_size
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.guesses import KnownPrefix
from forerun.engine.methods import Method, Sequential, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.rows import JoinedStates, Problem, copy_states
from forerun.engine.solution import Seconds, Solution, Status

UNKNOWN = "Nothing was checked up to step {}, where this run was resumed: the deviation is estimated from there on."
CARRIED = (
    "The drift of {:.1g} up to step {} is carried on as it is: steps taken in order do not tell what they make of it."
)


@dataclass(frozen=True)
class Place:
    """All that moves from round to round; replaced as a whole, so that an interrupt finds it whole."""

    front: WindowState
    estimator: DeviationEstimator
    method: Method
    threshold: float  # of the residuals of the next round
    rounds: int
    evaluations: int
    exact: bool  # no accepted step ever moved: this is the sequential run so far
    logged: int = 0  # entries of the log up to here
    retries: int = 0
    notes: tuple[str, ...] = ()


class Run:
    """One solve on its way."""

    def __init__(self, process: Process, begin: Checkpoint, settings: SolveSettings, *, path: bool = False) -> None:
        self.settings = settings
        self._keeps_path = path
        self.problem = Problem(process, begin.state)
        self.meter = CountedEvaluate(self.problem, settings.backend)
        self.log: list[Round] = []
        self.path = JoinedStates([begin.state])
        self._begin = begin
        self._known = begin.exact or begin.shadow is not None  # how far the run was off there
        self._begun = time.perf_counter()
        self._advance = 0.0
        self.place = Place(
            front=self._enter(begin),
            estimator=DeviationEstimator.from_state(self.problem, begin.step, begin.state, begin.shadow),
            method=settings.method,
            exact=begin.exact,
            threshold=settings.tolerance.threshold() * (settings.check.share if settings.check else 1),
            rounds=begin.rounds,
            evaluations=begin.evaluations,
            notes=() if self._known or not settings.check else (UNKNOWN.format(begin.step),),
        )

    def done(self) -> bool:
        """Whether every step is accepted and nothing calls for going back."""
        return self.place.front.start >= self.problem.length

    def iterate(self) -> WindowUpdate:
        """Evaluate the window and sweep it."""
        begun = time.perf_counter()
        result = self.place.method.iterate(self.place.front, self.meter)
        self._advance += time.perf_counter() - begun
        return result

    def residuals(self, iterate: WindowUpdate) -> tuple[list[float], int]:
        """The residual of every step of the window, and how many new inputs are finite; the wait of a round."""
        start = self.place.front.start
        steps = self.problem.step_range(start, start + len(iterate.moves))
        sizes = self.settings.tolerance.norm(steps, iterate.moves, iterate.inputs[:-1])
        largest = sizes.reshape(len(sizes), -1).amax(1) if sizes.numel() else sizes.new_zeros(len(sizes))
        last = torch.isfinite(iterate.inputs[-1]).all()
        *found, sound = torch.cat([largest, last.to(largest).reshape(1)]).tolist()
        if sound and _leading_finite(found) == len(found):
            return found, len(iterate.inputs)
        # rarely a second wait: a guess may be wild, or a norm overflow, where the new input is sound
        rows = torch.isfinite(iterate.inputs).reshape(len(iterate.inputs), -1).all(1)
        return found, int(rows.cumprod(0).sum())

    def accept(self, iterate: WindowUpdate, residuals: list[float], accepted: int, finite: int) -> Round:
        """Take over the accepted steps, slide the window and follow the estimator.

        Args:
            iterate: what the method made of the window.
            residuals: one a step of the window.
            accepted: number of steps to accept; at least 1, less than `finite`.
            finite: leading inputs of the iterate that are finite; the window is cut behind them.
        """
        place, front = self.place, self.place.front
        rounds, evaluations, timing = self.meter.take()
        self._advance -= timing.evaluate + timing.communicate
        stop = front.start + len(residuals)
        entry = Round(
            start=front.start,
            stop=stop,
            accepted=accepted,
            residuals=tuple(residuals),
            threshold=place.threshold,
            rounds=rounds,
            evaluations=evaluations,
            timing=timing,
            in_order=iterate.in_order,
        )
        self.log[place.logged :] = [entry]
        if self._keeps_path:
            self.path = JoinedStates(
                self.path[: front.start - self._begin.step + 1], copy_states(iterate.states[:accepted])
            )
        still = not any(residuals[:accepted])
        exact = place.exact and still
        sound = max(accepted, min(finite - 1, _leading_finite(residuals)))
        estimator = place.estimator
        if self.settings.check:
            estimator = estimator.follow_steps(front, iterate, accepted=accepted, exact=exact, still=still, sound=sound)
        at_end = front.start + accepted >= self.problem.length
        width = 1 if at_end else self.settings.window.width(self.log, self.problem.length)
        declined = width < 1 and not isinstance(place.method, Sequential)
        method = Sequential() if declined else place.method
        stop = method.stop(front.start + accepted, min(front.start + accepted + max(width, 1), self.problem.length))
        notes = place.notes
        if declined:
            estimator = estimator.follow_waiting()
            notes = (
                *notes,
                *self._declined(estimator, front.start + accepted, iterate.states[accepted - 1], exact=exact),
            )
        self.place = replace(
            place,
            front=self._slide(iterate, accepted, finite, stop),
            estimator=estimator,
            method=method,
            notes=notes,
            threshold=self.settings.tolerance.follow(place.threshold, residuals),
            exact=exact,
            logged=len(self.log),
            rounds=place.rounds + rounds,
            evaluations=place.evaluations + evaluations,
        )
        return entry

    def _declined(self, estimator: DeviationEstimator, step: int, state: Tree, *, exact: bool) -> Iterator[str]:
        """What there is to say where the window declines at a state."""
        note = self.settings.window.note(self.log, self.problem.length)
        if note:
            yield note
            if self.settings.check and not exact:
                yield CARRIED.format(
                    largest_size(estimator.estimate_deviation(self.settings.tolerance, step, state)), step
                )

    def settle(self) -> Status:
        """At the end of the path: how it ended; or go back, where the deviation is more than was asked for."""
        place, tolerance = self.place, self.settings.tolerance
        if place.exact:
            return Status.SEQUENTIAL
        check = self.settings.check
        if check is None:
            return Status.UNCHECKED
        asked = tolerance.threshold()
        excess = largest_size(self.deviation())
        if excess <= asked:
            return Status.CHECKED if self._known else Status.UNCHECKED
        # a drift from before the checkpoint that was resumed cannot be helped
        helpless = place.estimator.restart_points[0].step == self.problem.length or isinstance(
            self.settings.method, Sequential
        )
        if helpless or not check.retries or place.retries > check.retries:
            return Status.UNCERTAIN
        self._go_back(excess, asked, check.retries)
        return Status.STOPPED

    def _go_back(self, excess: float, asked: float, most: int) -> None:
        """Go back to the first step to blame with a tighter threshold; to the beginning where none would do."""
        place, tolerance = self.place, self.settings.tolerance
        tight = place.threshold * max(asked / (4 * excess), 1e-3)
        rounding = torch.finfo(self.problem.input_layout.dtype).eps
        seen = self.problem.observe(place.front.state).unsqueeze(0)
        floor = largest_size(tolerance.norm(self._last(), rounding * seen, seen))
        retries = place.retries + 1
        if retries > most or tight <= 4 * floor:
            method: Method = Sequential()
            retries = most + 1
            estimator = DeviationEstimator(
                self.problem, place.estimator.restart_points[0].shadow, place.estimator.restart_points[:1]
            )
            how = "goes on step by step, as no tolerance that rounding allows would keep it"
        else:
            method, estimator = self.settings.method, place.estimator.go_back(tolerance, excess, asked)
            how = f"goes on with the threshold of a step at {tight:.2g}"
        restart_point = estimator.restart_points[-1]
        note = f"deviation estimated at {excess:.2g} for {asked:.2g}: went back to step {restart_point.step} and {how}."
        front = self._enter(Checkpoint(restart_point.step, self.problem.length, restart_point.state))
        self.place = replace(
            place,
            front=front,
            estimator=estimator,
            method=method,
            threshold=tight,
            retries=retries,
            exact=restart_point.shadow is restart_point.state and self._begin.exact,
            notes=(*place.notes, note),
        )

    def deviation(self) -> torch.Tensor:
        """Estimated distance `(*batch,)` of the accepted state from the sequential run's."""
        place = self.place
        if place.exact:
            return torch.zeros(self.problem.input_layout.batch, device=self.problem.input_layout.device)
        step = min(place.front.start, self.problem.length - 1)
        return self._estimator().estimate_deviation(self.settings.tolerance, step, place.front.state)

    def checkpoint(self) -> Checkpoint:
        """What is accepted so far."""
        place = self.place
        return Checkpoint(
            step=place.front.start,
            length=self.problem.length,
            state=place.front.state,
            shadow=self._estimator().shadow if self.settings.check and self._known and not place.exact else None,
            ahead=place.front.inputs,
            rounds=place.rounds,
            evaluations=place.evaluations,
            exact=place.exact,
        )

    def solution(self, status: Status) -> Solution:
        """What `solve` returns from here."""
        place = self.place
        timing = sum((entry.timing for entry in self.log[: place.logged]), RoundTiming())
        total, advance = time.perf_counter() - self._begun, max(self._advance, 0.0)
        return Solution(
            state=place.front.state,
            length=self.problem.length,
            status=status,
            log=self.log[: place.logged],
            deviation=self.deviation() if self.settings.check else None,
            checkpoint=self.checkpoint(),
            seconds=Seconds(
                timing.evaluate,
                advance,
                timing.communicate,
                max(total - timing.evaluate - timing.communicate - advance, 0.0),
            ),
            notes=place.notes,
            states=self.path[: place.front.start - self._begin.step + 1] if self._keeps_path else None,
        )

    def _estimator(self) -> DeviationEstimator:
        """The estimator up to the accepted state."""
        self.place = replace(self.place, estimator=self.place.estimator.follow_waiting())
        return self.place.estimator

    def _last(self) -> torch.Tensor:
        return self.problem.step_range(self.problem.length - 1, self.problem.length)

    def _enter(self, begin: Checkpoint) -> WindowState:
        """The first window from a checkpoint on."""
        start = begin.step
        if start >= self.problem.length:
            return WindowState(self.problem, start, [begin.state], self.problem.observe(begin.state).unsqueeze(0))
        width = max(self.settings.window.width(self.log, self.problem.length), 1)
        stop = self.settings.method.stop(start, min(start + width, self.problem.length))
        if begin.ahead is not None:
            ahead = begin.ahead[: stop - start]
            return WindowState(self.problem, start, [begin.state] * len(ahead), ahead)
        prefix = KnownPrefix(self.problem, start, begin.state, None)
        states, inputs = self.settings.guess.enter(prefix, stop, self.meter)
        return WindowState(self.problem, start, states, inputs)

    def _slide(self, iterate: WindowUpdate, accepted: int, finite: int, stop: int) -> WindowState:
        """The next window: what is known of it, and the steps that enter it."""
        front = self.place.front
        start = front.start + accepted
        states: Sequence[Tree] = iterate.states[accepted - 1 : finite - 1]
        inputs = iterate.inputs[accepted:finite]
        if iterate.guesses is not None:
            inputs = torch.cat([inputs[:1], iterate.guesses[accepted + 1 : finite]])
        stop = max(stop, start + 1)
        known = len(inputs)
        if stop - start <= known:
            states, inputs = states[: stop - start], inputs[: stop - start]
        else:
            last = states[-1]
            if known > 1 and iterate.guesses is not None and self.problem.process.observe(last) is last:
                last = self.problem.input_layout.unpack(inputs[-1])  # new slots go on from what will be evaluated
            edge = KnownPrefix(self.problem, start + known - 1, last, iterate.outputs[: finite - 1])
            entered, rows = self.settings.guess.enter(edge, stop, self.meter)
            states, inputs = JoinedStates(states[:-1], entered), torch.cat([inputs[:-1], rows])
        return WindowState(self.problem, start, states, inputs, iterate.evaluations, iterate.memory)


def _leading_finite(residuals: Sequence[float]) -> int:
    if sum(residuals) < float("inf"):  # nan is not
        return len(residuals)
    return next((index for index, size in enumerate(residuals) if not size < float("inf")), len(residuals))
