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
from forerun.engine.search.monitor import choose_rows, follow_point, measure_gain
from forerun.engine.search.options import LimitSettings
from forerun.engine.search.repeated_call import refuse_other_value
from forerun.engine.search.state import LimitState
from forerun.engine.tolerance import largest_element

REPEATED_EVALUATION = 3  # at which the map is called a second time, to see whether it gives the same


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
        state, knowledge = self._ask_certificates(state, evidence, evaluated)
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
        nothing = torch.full_like(state.last_measured, float("nan"))
        evaluated = EvaluatedPoints(
            points=state.watch["best_point"],
            values=state.watch["best_value"],
            residuals=state.watch["best_value"] - state.watch["best_point"],
            sizes=state.watch["best_size"],
            is_kept=~nothing.isfinite(),
            is_finite=~nothing.isfinite(),
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
            points = self.state.watch["recent_points"][:, 0].nan_to_num()
            refuse_other_values(self._tools.evaluate(points), self.state.watch["recent_values"][:, 0])

    def _evaluate_points(self, state: LimitState) -> EvaluatedPoints:
        """Evaluate the next points, and let the safeguard judge those that are accelerated."""
        values = self._tools.evaluate(state.points)
        residuals = values - state.points
        sizes = self._tools.measure(residuals, state.points)
        measured = self._safeguard.measure(JudgedPoints(self.rows, state.problems, state.points, sizes))
        is_finite = values.isfinite().all(-1) & sizes.isfinite()
        is_good = is_finite & self._safeguard.accepts(measured, state.last_measured, state.best_measured)
        is_kept = ~state.is_trial | is_good
        return EvaluatedPoints(
            state.points, values, residuals, sizes=sizes, is_kept=is_kept, is_finite=is_finite, measured=measured
        )

    def _follow_points(self, state: LimitState, evaluated: EvaluatedPoints) -> LimitState:
        """Return the state once it has taken note of the points that are kept."""
        is_kept = evaluated.is_kept
        watch = follow_point(state.watch, evaluated.points, evaluated.values, sizes=evaluated.sizes, tools=self._tools)
        followed = replace(
            state,
            watch=watch,
            last_measured=evaluated.measured,
            best_measured=torch.fmin(evaluated.measured, state.best_measured),
            residuals=(*state.residuals, largest_entry(evaluated.sizes)),
        )
        if evaluated.keeps_all:
            return followed
        return replace(
            followed,
            watch=keep_rows(is_kept, watch, state.watch),
            last_measured=torch.where(is_kept, evaluated.measured, state.last_measured),
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
            residuals=evaluated.residuals,
            lengths=largest_element(evaluated.residuals),
            sizes=evaluated.sizes,
            threshold=self.settings.tolerance.threshold(),
            read_gains=lambda: measure_gain(state.watch),
            ratios=state.watch["ratios"],
            memory={},
            tools=self._tools,
        )

    def _ask_certificates(
        self, state: LimitState, evidence: Evidence, evaluated: EvaluatedPoints
    ) -> tuple[LimitState, list[Knowledge]]:
        """Return what the certificates know of the points, and the state with what they remember."""
        knowledge, memories = [], []
        for certificate, memory in zip(self.settings.certificates, state.certificate_memories, strict=True):
            entry = certificate.follow(evidence.with_memory(memory))
            knowledge.append(entry)
            memories.append(entry.memory if evaluated.keeps_all else keep_rows(evaluated.is_kept, entry.memory, memory))
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
        plain = choose_rows(is_kept, evaluated.values, state.plain_values)
        memory = proposal.memory if evaluated.keeps_all else clear_memory(proposal.memory, ~is_kept)
        return replace(
            state,
            points=choose_rows(is_usable & is_kept, points, plain),
            is_trial=is_trial & is_usable,
            plain_values=plain if proposal.fallback is None else proposal.fallback,
            method_memory=memory,
        )

    def _require_repeatable(self, state: LimitState, evaluated: EvaluatedPoints, codes: Tensor) -> None:
        """Call the map a second time, once in a run, and refuse one that draws random numbers."""
        if self._was_repeated:
            return
        if state.iteration == REPEATED_EVALUATION or bool((codes != LimitStatus.RUNNING.code).any()):
            self._was_repeated = True
            refuse_other_value(evaluated, self._tools, self.settings.tolerance.threshold())

    def _make_event(self, state: LimitState, evaluated: EvaluatedPoints) -> LimitEvent:
        """Return what callbacks see, of the problems that go on and of those that have ended."""
        ended = state.ended
        sizes = ended.sizes.index_copy(0, state.problems, evaluated.sizes)
        return LimitEvent(
            evaluations=self._tools.evaluations,
            residual=self.rows.restore_batch(sizes),
            going=len(state.problems),
            read_state=lambda: self.rows.unpack(ended.limits.index_copy(0, state.problems, evaluated.points)),
            checkpoint=self.checkpoint,
        )
