"""WaitingSteps: accepted steps with a closed form, of the rounds that waited until the shadow follows them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from forerun.engine.check.accepted_round import AcceptedRound, EvaluatedWindow
from forerun.engine.check.distance_growth import grow_distances
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_or_base
from forerun.engine.check.joined_rounds import EvaluationTable
from forerun.engine.check.output_defects import estimate_defects
from forerun.engine.check.sampled_steps import choose_samples, sampled_share
from forerun.engine.check.step_samples import DrawnStep
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import AffineMaps, Problem


@dataclass(frozen=True)
class WaitingSteps:
    """Accepted steps that the shadow has not followed yet.

    Attributes:
        maps: their closed form, without its shifts.
        defects: `r`, `(n, *batch, D)`: how wrong their outputs are estimated to be.
        base: slopes that their Jacobians begin with, one a step; None for zero.
        changes: differences of their evaluations; None where no step was evaluated twice.
        inputs: the accepted inputs, `(n, *batch, D)`.
        outputs: as the sweeps used them, `(n, *batch, E)`.
        end_input: the accepted input after the last step.
        restart_states: accepted states of steps that become restart points.
        drawn: steps to be sampled.
    """

    maps: AffineMaps
    defects: Tensor
    base: Tensor | None
    changes: EvaluationChanges | None
    inputs: Tensor
    outputs: Tensor
    end_input: Tensor
    restart_states: Mapping[int, Tree]
    drawn: Sequence[DrawnStep] = ()

    @classmethod
    def from_rounds(
        cls,
        problem: Problem,
        history: Sequence[EvaluatedWindow],
        rounds: Sequence[AcceptedRound],
        *,
        depth: int,
    ) -> WaitingSteps:
        """Return the accepted steps of consecutive rounds, whose slopes have one shape.

        Args:
            problem: the process, in rows.
            history: windows that were evaluated before, the newest last.
            rounds: with at least one accepted step each.
            depth: evaluations of a step that are looked at.
        """
        first, last = rounds[0], rounds[-1]
        defects, changes = _measure_rounds(problem, history, rounds, depth=depth)
        return cls(
            maps=problem.affine_factors(first.start, last.stop - first.start),
            defects=defects,
            base=_join_bases([waiting_round.base for waiting_round in rounds]),
            changes=changes,
            inputs=_join_rows([waiting_round.inputs[: waiting_round.accepted] for waiting_round in rounds]),
            outputs=_join_rows([waiting_round.window.predicted[: waiting_round.accepted] for waiting_round in rounds]),
            end_input=last.inputs[last.accepted],
            restart_states={
                waiting_round.stop: waiting_round.restart_state
                for waiting_round in rounds
                if waiting_round.restart_state is not None
            },
            drawn=draw_steps_of(rounds, sampled_share(problem.length)),
        )

    def __len__(self) -> int:
        return self.defects.shape[0]

    @property
    def start(self) -> int:
        """The first step."""
        return self.maps.start

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.maps.start + len(self)

    def follow_distance(
        self,
        distance: Tensor,
        before: Jacobian | None,
    ) -> tuple[Tensor, Jacobian]:
        """Return the distances `(n, *batch, D)` after each step, and the Jacobians.

        Args:
            distance: from the first accepted input.
            before: the Jacobian of the step before the first; None where there is none.
        """
        jacobian = estimate_or_base(
            self.changes,
            base=self.base,
            before=before,
            inputs=self.inputs,
            outputs=self.defects,
        )
        return grow_distances(self.maps, jacobian, self.defects, distance), jacobian


def _join_rows(parts: Sequence[Tensor]) -> Tensor:
    """Return rows one under the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def group_rounds(rounds: Sequence[AcceptedRound]) -> list[list[AcceptedRound]]:
    """Return consecutive rounds in groups whose slopes have one shape."""
    return [list(group) for _, group in groupby(rounds, lambda waiting_round: waiting_round.base_shape)]


def _measure_rounds(
    problem: Problem,
    history: Sequence[EvaluatedWindow],
    rounds: Sequence[AcceptedRound],
    *,
    depth: int,
) -> tuple[Tensor, EvaluationChanges | None]:
    """Return the defects of all accepted steps, and the changes of their evaluations."""
    if len(rounds) == 1:  # rows may be so wide that what is joined is copied for nothing
        return measure_round(problem, history, rounds[0], depth=depth)
    windows = [*history[-1:], *(waiting_round.window for waiting_round in rounds)]
    moves = torch.cat([waiting_round.moves[: waiting_round.accepted] for waiting_round in rounds])
    table = EvaluationTable.from_rounds(history, rounds, min(depth, len(history) + len(rounds)) - 1)
    changes = None
    if any(newer.start < older.stop for older, newer in pairwise(windows)):
        changes = table.measure_changes()
    return table.measure_defects(problem, moves), changes


def measure_round(
    problem: Problem, history: Sequence[EvaluatedWindow], accepted_round: AcceptedRound, *, depth: int
) -> tuple[Tensor, EvaluationChanges | None]:
    """Return the defects of the accepted steps of one round, and the changes of their evaluations."""
    start, count = accepted_round.start, accepted_round.accepted
    windows = [*history, accepted_round.window][-depth:]
    evaluations = [window.evaluations for window in reversed(windows)]
    predicted = history[-1].predictions if history else None
    return (
        estimate_defects(problem, evaluations[0], predicted, accepted_round.moves[:count]),
        EvaluationChanges.from_evaluations(evaluations, start, count),
    )


def _join_bases(bases: Sequence[Tensor | None]) -> Tensor | None:
    """Return the slopes of consecutive rounds, all of one shape or all None."""
    present = [base for base in bases if base is not None]
    if len(present) < 2:
        return present[0] if present else None
    return torch.cat(present)


def draw_steps_of(rounds: Sequence[AcceptedRound], share: float) -> list[DrawnStep]:
    """Return some of the accepted steps of consecutive rounds, drawn at random."""
    drawn = []
    remaining = iter(rounds)
    accepted_round = next(remaining)
    for step in choose_samples(rounds[0].start, rounds[-1].stop, share):
        while step >= accepted_round.stop:
            accepted_round = next(remaining)
        index = step - accepted_round.start
        drawn.append(DrawnStep(step, accepted_round.inputs[index], accepted_round.window.predicted[index]))
    return drawn
