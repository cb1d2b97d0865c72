"""A search for a fixed point on its way, an evaluation at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from forerun.engine.certificates import Evidence, Knowledge
from forerun.engine.limit_methods import LimitPoint
from forerun.engine.limit_methods.base import clear_memory
from forerun.engine.limit_status import STATUS_ORDER, LimitStatus
from forerun.engine.map import Map
from forerun.engine.map_rows import MapRows
from forerun.engine.numerics.autocast import in_plain_arithmetic
from forerun.engine.numerics.tree import Tree
from forerun.engine.safeguards import JudgedPoints, choose_safeguard
from forerun.engine.search.checkpoint import LimitCheckpoint, load_limit_checkpoint, refuse_other_values
from forerun.engine.search.evaluated import EvaluatedPoints, end_problems, judge_problems, keep_rows
from forerun.engine.search.evaluation import CountedMap
from forerun.engine.search.event import LimitEvent
from forerun.engine.search.limit import Limit, largest_entry
from forerun.engine.search.monitor import follow_point, measure_gain
from forerun.engine.search.options import LimitSettings
from forerun.engine.search.state import LimitState
from forerun.engine.tolerance import largest_element

REPEATED_EVALUATION = 3  # at which the map is called a second time, to see whether it gives the same
REPEAT_ROUNDINGS = 1e4  # of the largest element, by which two calls may differ

UNREPEATABLE = (
    "the map gave another value for the same state, by {:.2g}, where its residual was {:.2g}: it draws random numbers "
    "or changes from call to call. Write module.eval(), draw the noise before and let the map use it, or, where the "
    "noise is meant, pass repeatable=False"
)


@final
class LimitRun:
    """One search on its way: `while run.goes_on(): event = run.take_evaluation()`, then `run.limit()`.

    Args:
        user_map: the map.
        state: the first state.
        settings: how its limit is searched.
        resume: a checkpoint, or the file of one, to go on from.

    Raises:
        TypeError: the map or a leaf of the state is of the wrong kind.
        ValueError: they do not belong together.
    """

    @in_plain_arithmetic
    def __init__(
        self,
        user_map: Map,
        state: Tree,
        settings: LimitSettings,
        *,
        resume: LimitCheckpoint | str | Path | None = None,
    ) -> None:
        self.rows = MapRows(user_map, state)
        self.settings = settings
        self._tools = CountedMap(self.rows, settings.backend, settings.tolerance)
        self._safeguard = settings.safeguard or choose_safeguard(self.rows)
        self._was_repeated = not settings.repeatable
        self._start_time = time.perf_counter()
        self.state = LimitState.begin(self.rows.first_points, len(settings.certificates))
        if resume is not None:
            self._restore_state(load_limit_checkpoint(resume))
        self._resumable = self.state  # as the state was before something but the map ended the problems

    def goes_on(self) -> bool:
        """Return whether a problem is left."""
        return len(self.state.problems) > 0

    @in_plain_arithmetic
    def take_evaluation(self) -> LimitEvent:
        """Evaluate the points, take back what the safeguard refuses, end what has ended, and choose the next points.

        Raises:
            ValueError: the map does not keep its contract.
        """
        state = self.state
        self._tools.select(state)
        evaluated = self._evaluate_points(state)
        state = self._follow_points(state, evaluated)
        evidence = self._make_evidence(state, evaluated)
        state, knowledge = self._ask_certificates(state, evidence, evaluated.is_kept)
        codes = judge_problems(evaluated, knowledge, state.watch, evidence)
        self._require_repeatable(state, evaluated, codes)
        is_going = codes == LimitStatus.RUNNING.code
        if not bool(is_going.all()):
            state = self._end_problems(state, evaluated, evidence=evidence, knowledge=knowledge, codes=codes)
            evaluated = evaluated.select(is_going)
        event = self._make_event(state, evaluated)
        self._tools.select(state)
        self.state = self._advance(state, evaluated)
        self._resumable = self.state
        if self.goes_on() and self._tools.evaluations >= self.settings.max_evaluations:
            self.end(LimitStatus.OUT_OF_BUDGET)
        return event

    @in_plain_arithmetic
    def end(self, status: LimitStatus) -> None:
        """Let all problems that go on end where they stand, at their best point: stopped, interrupted."""
        state = self.state
        count = len(state.problems)
        nothing = state.points.new_full((count,), float("nan"))
        evaluated = EvaluatedPoints(
            points=state.watch["best_point"],
            values=state.watch["best_value"],
            sizes=state.watch["best_size"],
            is_kept=torch.ones(count, dtype=torch.bool, device=state.points.device),
            measured=nothing,
        )
        codes = torch.full_like(state.problems, status.code)
        ended = end_problems(evaluated, codes, [], state.watch)
        ended_all = state.ended.insert(state.problems, ended)
        self.state = replace(state.select(codes < 0), ended=ended_all)

    @in_plain_arithmetic
    def limit(self) -> Limit:
        """Return what the search has come to."""
        rows, state = self.rows, self.state
        ended = state.ended
        codes = ended.codes.tolist()
        worst = max(codes, default=LimitStatus.CONVERGED.code)
        return Limit(
            state=rows.unpack(ended.limits),
            status=STATUS_ORDER[worst],
            statuses=[STATUS_ORDER[code] for code in codes],
            evaluations=self._tools.evaluations,
            iterations=rows.restore_batch(ended.iterations),
            residual=rows.restore_batch(ended.sizes),
            rate=rows.restore_batch(ended.rates),
            error_bound=rows.restore_batch(ended.bounds),
            displacement=rows.unpack(ended.displacements),
            period=rows.restore_batch(ended.periods),
            residuals=state.residuals,
            seconds=time.perf_counter() - self._start_time,
            seconds_evaluating=self._tools.timing.evaluate,
            rejected=state.rejected,
            notes=state.notes,
            checkpoint=self.checkpoint(),
        )

    def checkpoint(self) -> LimitCheckpoint:
        """Return what is known so far, of the problems that go on and of those that have ended."""
        return LimitCheckpoint.from_state(
            self._resumable,
            evaluations=self._tools.evaluations,
            method=self.settings.method,
            certificates=self.settings.certificates,
        )

    def _restore_state(self, checkpoint: LimitCheckpoint) -> None:
        """Go on from a checkpoint, once the map has given the value that it gave then."""
        self.state = checkpoint.restore_state(self.rows, self.settings.method, self.settings.certificates)
        self._tools.evaluations = checkpoint.evaluations
        if self.goes_on() and self.settings.repeatable:
            self._tools.select(self.state)
            self._was_repeated = True
            points = self.state.watch["last_points"].nan_to_num()
            refuse_other_values(self._tools.evaluate(points), self.state.watch["last_values"])

    def _evaluate_points(self, state: LimitState) -> EvaluatedPoints:
        """Evaluate the next points, and let the safeguard judge those that are accelerated."""
        values = self._tools.evaluate(state.points)
        sizes = self._tools.measure(values - state.points, state.points)
        measured = self._safeguard.measure(JudgedPoints(self.rows, state.problems, state.points, sizes))
        is_finite = values.isfinite().all(-1) & sizes.isfinite()
        is_good = is_finite & self._safeguard.accepts(measured, state.last_measured, state.best_measured)
        return EvaluatedPoints(state.points, values, sizes, ~state.is_trial | is_good, measured)

    def _follow_points(self, state: LimitState, evaluated: EvaluatedPoints) -> LimitState:
        """Return the state once it has taken note of the points that are kept."""
        is_kept = evaluated.is_kept
        watch = follow_point(state.watch, evaluated.points, evaluated.values, sizes=evaluated.sizes, tools=self._tools)
        return replace(
            state,
            watch=keep_rows(is_kept, watch, state.watch),
            last_measured=torch.where(is_kept, evaluated.measured, state.last_measured),
            best_measured=torch.fmin(evaluated.measured, state.best_measured),
            residuals=(*state.residuals, largest_entry(evaluated.sizes)),
            rejections=state.rejections + ~is_kept,
            rejected=state.rejected + int((~is_kept).sum()),
        )

    def _make_evidence(self, state: LimitState, evaluated: EvaluatedPoints) -> Evidence:
        return Evidence(
            rows=self.rows,
            problems=state.problems,
            iteration=state.iteration,
            points=evaluated.points,
            values=evaluated.values,
            sizes=evaluated.sizes,
            threshold=self.settings.tolerance.threshold(),
            gains=measure_gain(state.watch),
            ratios=state.watch["ratios"],
            memory={},
            tools=self._tools,
        )

    def _ask_certificates(
        self, state: LimitState, evidence: Evidence, is_kept: Tensor
    ) -> tuple[LimitState, list[Knowledge]]:
        """Return what the certificates know of the points, and the state with what they remember."""
        knowledge, memories = [], []
        for certificate, memory in zip(self.settings.certificates, state.certificate_memories, strict=True):
            entry = certificate.follow(replace(evidence, memory=memory))
            knowledge.append(entry)
            memories.append(keep_rows(is_kept, entry.memory, memory))
        return replace(state, certificate_memories=tuple(memories)).add_notes(knowledge), knowledge

    def _end_problems(
        self,
        state: LimitState,
        evaluated: EvaluatedPoints,
        *,
        evidence: Evidence,
        knowledge: list[Knowledge],
        codes: Tensor,
    ) -> LimitState:
        """Return the state without the problems that have ended, and with their ends."""
        is_done = codes == LimitStatus.CONVERGED.code
        conclusions = []
        if bool(is_done.any()):
            self._tools.select(state.select(is_done))
            for certificate in self.settings.certificates:
                entry = certificate.conclude(evidence.select(is_done))
                conclusions.append(entry.spread(is_done))
        ended = end_problems(evaluated, codes, [*knowledge, *conclusions], state.watch)
        has_ended = codes != LimitStatus.RUNNING.code
        ended_all = state.ended.insert(state.problems[has_ended], ended.select(has_ended))
        return replace(state, ended=ended_all).add_notes(conclusions).select(~has_ended)

    def _advance(self, state: LimitState, evaluated: EvaluatedPoints) -> LimitState:
        """Return the state with the points to evaluate next."""
        if not len(state.problems):
            return state
        point = LimitPoint(
            iteration=state.iteration - 1,
            points=evaluated.points,
            values=evaluated.values,
            sizes=evaluated.sizes,
            threshold=self.settings.tolerance.threshold(),
            rejections=state.rejections,
            memory=state.method_memory,
            tools=self._tools,
        )
        proposal = self.settings.method.advance(point)
        is_kept = evaluated.is_kept
        is_trial = torch.zeros_like(is_kept) if proposal.is_trial is None else proposal.is_trial & is_kept
        points = proposal.points
        if bool(is_trial.any()):
            projected = self.rows.project(points, state.problems)
            points = torch.where(is_trial.unsqueeze(-1), projected, points)
        is_usable = points.isfinite().all(-1)
        plain = torch.where(is_kept.unsqueeze(-1), evaluated.values, state.plain_values)
        return replace(
            state,
            points=torch.where((is_usable & is_kept).unsqueeze(-1), points, plain),
            is_trial=is_trial & is_usable,
            plain_values=plain if proposal.fallback is None else proposal.fallback,
            method_memory=clear_memory(proposal.memory, ~is_kept),
        )

    def _require_repeatable(self, state: LimitState, evaluated: EvaluatedPoints, codes: Tensor) -> None:
        """Call the map a second time, once in a run, and refuse one that draws random numbers."""
        has_ended = bool((codes != LimitStatus.RUNNING.code).any())
        if self._was_repeated or not (has_ended or state.iteration == REPEATED_EVALUATION):
            return
        self._was_repeated = True
        again = self._tools.evaluate(evaluated.points)
        is_finite = (again.isfinite() & evaluated.values.isfinite()).all(-1)
        change = torch.where(is_finite.unsqueeze(-1), again - evaluated.values, 0.0)
        sizes = self._tools.measure(change, evaluated.points)
        largest = largest_element(evaluated.values.nan_to_num(0.0, 0.0, 0.0))
        is_rounding = largest_element(change) <= REPEAT_ROUNDINGS * self.rows.epsilon * largest
        is_changed = ~is_rounding & ~(sizes <= self.settings.tolerance.threshold())
        if bool(is_changed.any()):
            raise ValueError(UNREPEATABLE.format(largest_entry(sizes), largest_entry(evaluated.sizes)))

    def _make_event(self, state: LimitState, evaluated: EvaluatedPoints) -> LimitEvent:
        """Return what callbacks see, of the problems that go on and of those that have ended."""
        ended = state.ended
        sizes = ended.sizes.index_copy(0, state.problems, evaluated.sizes)
        points = ended.limits.index_copy(0, state.problems, evaluated.points)
        return LimitEvent(
            evaluations=self._tools.evaluations,
            residual=self.rows.restore_batch(sizes),
            going=len(state.problems),
            read_state=lambda: self.rows.unpack(points),
            checkpoint=self.checkpoint,
        )
