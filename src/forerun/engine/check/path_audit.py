"""The audit of an accepted path: its steps evaluated again, where they were accepted and where the shadow is.

With `f(x)` at the accepted input and `f(x + h)` at a shift along the distance `d` of the shadow, the sequential run is
followed once more beside the accepted path:

    y_{i+1} = advance(i, y_i, f(x_i) + J d_i + (f(x_i + h_i) - f(x_i) - J h_i) (h_i . d_i) / |h_i|^2)

The evaluations say what lies along `h`; the Jacobian of the check is left with what is orthogonal to it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import AcceptedPath, CarriedSteps
from forerun.engine.check.audit_by_maps import walk_by_maps
from forerun.engine.check.audited_steps import AuditedSteps, measure_shares, row_norms
from forerun.engine.check.carried_distance import carry_as_before
from forerun.engine.check.element_test import ElementTest
from forerun.engine.check.sampled_steps import FARTHEST_SLOPE, EvaluateApart
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import AffineMaps, Problem

PASSES_BY_ELEMENT: Final = 7  # where one is enough for a slope, but not for how it bends
SETTLED_DISTANCES: Final = 0.1  # of the largest distance, by which the last pass may have moved it


class FarthestStep(NamedTuple):
    """A step with its accepted input and the distance of the sequential run from there, as rows."""

    step: int
    input: Tensor
    distance: Tensor


@dataclass
class ShadowWalk:
    """A walk of the sequential run beside an accepted path.

    Attributes:
        problem: the process, in rows.
        state: of the sequential run, where the walk stands.
        steps: those at which its states are kept.
        shadows: these states, by step.
        distances: from the accepted inputs, `(n, *batch, D)`, one tensor for every part of parallel steps.
        is_settled: it follows how slopes bend, too.
    """

    problem: Problem
    state: Tree
    steps: Set[int]
    shadows: dict[int, Tree] = field(default_factory=dict)
    distances: list[Tensor] = field(default_factory=list)
    is_settled: bool = False

    def follow_path(
        self,
        path: AcceptedPath,
        audited_parts: Sequence[AuditedSteps],
    ) -> ShadowWalk:
        """Follow all steps of a path, by what is known of them."""
        remaining = iter(audited_parts)
        for segment in path.segments:
            if isinstance(segment, CarriedSteps):
                self.state = carry_as_before(self.problem, segment, self.state)
            else:
                self._follow_parallel(next(remaining))
            self._keep_state(segment.stop)
        return self

    def retrace_inputs(self, path: AcceptedPath) -> Tensor | None:
        """Return the inputs of the sequential run, as far as they lie near the path; None where some are not known."""
        inputs = path.stack_inputs()
        if inputs is None:
            return None
        distances = torch.cat(self.distances)
        is_near = row_norms(distances) <= FARTHEST_SLOPE * row_norms(inputs)  # nan is not
        return inputs + torch.where(is_near, distances, 0.0)

    def find_farthest(self, path: AcceptedPath) -> FarthestStep | None:
        """Return the step with the largest distance by its size, where slopes no longer hold there; None where not."""
        if self.is_settled:
            return None
        farthest, largest_share = None, FARTHEST_SLOPE
        for steps, distances in zip(path.parallel_steps, self.distances, strict=True):
            shares = measure_shares(distances, steps.inputs)
            share, index = shares.reshape(len(distances), -1).amax(1).max(0)
            if share > largest_share:
                largest_share = float(share)
                farthest = FarthestStep(steps.start + int(index), steps.inputs[index], distances[index])
        return farthest

    def ends_near(self, other: ShadowWalk) -> bool:
        """Return whether another walk found much the same distances."""
        moves, size = 0.0, 0.0
        for rows, other_rows in zip(self.distances, other.distances, strict=True):
            moves = max(moves, float((rows - other_rows).abs().amax()))
            size = max(size, float(rows.abs().amax()))
        return moves <= SETTLED_DISTANCES * size

    def _follow_parallel(self, audited: AuditedSteps) -> None:
        """Follow steps that were evaluated together."""
        steps = audited.steps
        maps = self.problem.affine_maps(steps.start, len(steps.inputs))
        if maps is None:
            self._follow_in_order(audited)
        else:
            self._follow_by_maps(audited, maps)

    def _follow_by_maps(
        self,
        audited: AuditedSteps,
        maps: AffineMaps,
    ) -> None:
        """Follow steps with a closed form."""
        steps, layout = audited.steps, self.problem.input_layout
        distances = walk_by_maps(audited, maps, self.problem.observe(self.state) - steps.inputs[0])
        for step in self.steps:
            if steps.start <= step < steps.stop:
                index = step - steps.start
                self.shadows[step] = layout.unpack(steps.inputs[index] + distances[index])
        self.distances.append(distances[:-1])
        self.state = layout.unpack(steps.end_input + distances[-1])

    def _follow_in_order(self, audited: AuditedSteps) -> None:
        """Follow steps by the process's own `advance`."""
        steps, distances = audited.steps, []
        for index, jacobian in enumerate(steps.jacobian.split_steps()):
            self._keep_state(steps.start + index)
            distance = self.problem.observe(self.state) - steps.inputs[index]
            distances.append(distance)
            change = jacobian.multiply_moves(distance.unsqueeze(0))[0]
            output = audited.outputs[index] + audited.correct_change(index, distance, change)
            self.state = self.problem.advance(steps.start + index, self.state, output)
        self.distances.append(torch.stack(distances))

    def _keep_state(self, step: int) -> None:
        """Keep the state where it is wanted."""
        if step in self.steps:
            self.shadows[step] = self.state


def audit_path(
    problem: Problem, path: AcceptedPath, steps: Set[int], evaluate: EvaluateApart, *, is_cautious: bool
) -> ShadowWalk:
    """Evaluate the parallel steps of a path again, in two calls, and follow the sequential run beside it.

    Args:
        problem: the process, in rows.
        path: whole.
        steps: those at which the shadow is wanted.
        evaluate: evaluates the steps.
        is_cautious: no distance is taken to shrink faster than along its shift.
    """
    parts = path.parallel_steps
    audit = PathAudit(problem, path, steps, evaluate)
    if not parts:
        return audit.walk_path([])
    test = ElementTest.draw(parts)
    *outputs, tested_outputs = audit.evaluate_parts([steps_part.inputs for steps_part in parts], test)
    by_element = test.is_passed(tested_outputs, outputs)
    audited_parts = [AuditedSteps(*pair, by_element=by_element) for pair in zip(parts, outputs, strict=True)]
    audited_parts = [replace(audited, is_cautious=is_cautious) for audited in audited_parts]
    walk = audit.walk_path(audited_parts)
    audited_parts = audit.learn_shifts(audited_parts, walk.distances)
    before, walk = walk, audit.walk_path(audited_parts)
    return audit.settle_walk(before, walk, audited_parts) if by_element else walk


@dataclass(frozen=True)
class PathAudit:
    """The audit of a path.

    Attributes:
        problem: the process, in rows.
        path: whole.
        steps: those at which the shadow is wanted.
        evaluate: evaluates the steps.
    """

    problem: Problem
    path: AcceptedPath
    steps: Set[int]
    evaluate: EvaluateApart

    def walk_path(self, audited_parts: Sequence[AuditedSteps]) -> ShadowWalk:
        """Follow the sequential run beside the path, by what is known of its steps."""
        return ShadowWalk(self.problem, self.path.shadow, self.steps).follow_path(self.path, audited_parts)

    def settle_walk(
        self, before: ShadowWalk, first_walk: ShadowWalk, audited_parts: Sequence[AuditedSteps]
    ) -> ShadowWalk:
        """Return the walk by slopes that were learnt at the distances of the one before, once these stay.

        The first one where they never do.
        """
        walk = first_walk
        for _ in range(PASSES_BY_ELEMENT):
            if walk.ends_near(before):
                walk.is_settled = True
                return walk
            audited_parts = self.learn_shifts(audited_parts, walk.distances)
            before, walk = walk, self.walk_path(audited_parts)
        return first_walk

    def learn_shifts(
        self,
        audited_parts: Sequence[AuditedSteps],
        distances: Sequence[Tensor],
    ) -> list[AuditedSteps]:
        """Return the steps with what their evaluation at a shift along these distances shows."""
        shifts = [audited.choose_shifts(rows) for audited, rows in zip(audited_parts, distances, strict=True)]
        pairs = zip(audited_parts, shifts, strict=True)
        outputs = self.evaluate_parts([audited.steps.inputs + shift for audited, shift in pairs])
        triples = zip(audited_parts, shifts, outputs, strict=True)
        return [audited.learn_shifts(shift, output) for audited, shift, output in triples]

    def evaluate_parts(
        self,
        inputs: Sequence[Tensor],
        test: ElementTest | None = None,
    ) -> Sequence[Tensor]:
        """Return the outputs of all parallel steps at some inputs, and then those of a test, evaluated together."""
        ranges = [torch.arange(part.start, part.stop) for part in self.path.parallel_steps]
        rows = torch.cat(list(inputs))
        if test is not None:
            ranges.append(test.steps)
            rows = torch.cat([rows, test.rows])
        outputs = self.evaluate(torch.cat(ranges).to(rows.device), rows)
        pieces: Sequence[Tensor] = outputs.split([len(steps_range) for steps_range in ranges])
        return pieces
