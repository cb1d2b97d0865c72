"""ProgramWatch: looks at the points of a splitting now and then, and ends the search at a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import floor, log

import torch

from forerun.engine.certificates import Certificate
from forerun.engine.certificates.base import Evidence, Knowledge
from forerun.engine.limit_status import LimitStatus
from forerun.limits.infeasibility.active_set import polish_optimum
from forerun.limits.infeasibility.polish import polish_dual_ray, polish_primal_ray
from forerun.limits.infeasibility.program import Program, ScaledProgram, Vector
from forerun.limits.infeasibility.proofs import (
    OptimalityErrors,
    RayProof,
    measure_errors,
    prove_dual_ray,
    prove_primal_ray,
)
from forerun.limits.infeasibility.splittings import ProgramMap

LOOK_PERIOD = 20  # points from one look at the errors to the next
RAY_GROWTH = 1.5  # looks from one search for rays to the next
PROOF_RADIUS = 1e9  # that a proof must have to count: the size below which nothing is feasible


class Verdict(Enum):
    """What is known of a program: a sentence, with advice."""

    SOLVED = "The point is optimal to the tolerance: result.x, with the multipliers result.y."
    PRIMAL_INFEASIBLE = (
        "No point keeps all limits: result.primal_proof has multipliers of the rows that contradict every one. Rows "
        "with large multipliers are those that do not go together."
    )
    DUAL_INFEASIBLE = (
        "No multipliers are dual feasible: along result.dual_proof.vector the objective falls without end, from every "
        "point that keeps the limits. A limit of the variables is missing, or a cost has the wrong sign."
    )
    UNDECIDED = (
        "Neither an optimum nor a proof against one was reached; result.errors says how far the point is. Pass "
        "max_evaluations=... to go further, or x0=result.x and y0=result.y to go on."
    )


ENDS = {
    Verdict.SOLVED: LimitStatus.CONVERGED,
    Verdict.PRIMAL_INFEASIBLE: LimitStatus.NO_FIXED_POINT,
    Verdict.DUAL_INFEASIBLE: LimitStatus.NO_FIXED_POINT,
}


@dataclass(frozen=True, eq=False)
class ProgramJudgement:
    """What a point of a splitting shows of a program.

    Attributes:
        verdict: what holds.
        x: the variables `(N,)`.
        y: the multipliers of the rows `(M,)`; positive where a row is pushed against its upper limit.
        errors: how far both are from optimal.
        primal_proof: the best primal ray near the displacement of the splitting.
        dual_proof: the best dual ray there.
    """

    verdict: Verdict
    x: Vector
    y: Vector
    errors: OptimalityErrors
    primal_proof: RayProof
    dual_proof: RayProof


@dataclass(frozen=True, eq=False)
class ProgramJudge:
    """How points of a splitting are judged, in the user's units.

    Args:
        program: as the user gave it.
        scaled: as the splitting has it.
        splitting: the map.
        tolerance: the largest error of an optimum.
    """

    program: Program
    scaled: ScaledProgram
    splitting: ProgramMap
    tolerance: float

    def read_vectors(self, state: Vector) -> tuple[Vector, Vector, Vector]:
        """Return the variables and the multipliers of rows and of bounds of a state, in the user's units."""
        x, y, z = self.splitting.read_state(state)
        scaled = self.scaled
        return scaled.restore_point(x), scaled.restore_multipliers(y), scaled.restore_reduced(z)

    def measure_value(self, value: Vector) -> OptimalityErrors:
        """Return how far a value of the splitting is from optimal."""
        x, y, _ = self.read_vectors(value)
        return measure_errors(self.program, x, y)

    def judge_point(
        self,
        first: Vector,
        point: Vector,
        value: Vector,
    ) -> ProgramJudgement:
        """Return what a point and its value show, with the first point of the iteration.

        The displacement from the point to its value and the travel since the first point both go to the infimal
        displacement vector; the better ray of the two counts.
        """
        x, y, errors = self._polish_value(value)
        is_solved = errors.largest <= self.tolerance
        primal, dual = self._find_rays(value, () if is_solved else (point, first))
        verdict = Verdict.UNDECIDED
        if is_solved:
            verdict = Verdict.SOLVED
        elif primal.radius >= PROOF_RADIUS:
            verdict = Verdict.PRIMAL_INFEASIBLE
        elif dual.radius >= PROOF_RADIUS:
            verdict = Verdict.DUAL_INFEASIBLE
        return ProgramJudgement(verdict, x, y, errors, primal, dual)

    def _polish_value(self, value: Vector) -> tuple[Vector, Vector, OptimalityErrors]:
        """Return the point and multipliers of a value, or those of the optimum behind it where they are better."""
        x, y, _ = self.read_vectors(value)
        errors = self.measure_value(value)
        point, multipliers = polish_optimum(self.scaled.program, *self.splitting.read_state(value))
        polished_x, polished_y = self.scaled.restore_point(point), self.scaled.restore_multipliers(multipliers)
        polished_errors = measure_errors(self.program, polished_x, polished_y)
        if polished_errors.largest < errors.largest:
            return polished_x, polished_y, polished_errors
        return x, y, errors

    def _find_rays(
        self,
        value: Vector,
        starts: tuple[Vector, ...],
    ) -> tuple[RayProof, RayProof]:
        """Return the best primal and dual ray along the ways from some points to a value."""
        x, y, _ = self.read_vectors(value)
        primal, dual = [prove_primal_ray(self.program, 0 * y)], [prove_dual_ray(self.program, 0 * x)]
        for start in starts:
            x0, y0, _ = self.read_vectors(start)
            primal.append(prove_primal_ray(self.program, y - y0))
            dual.append(prove_dual_ray(self.program, x - x0))
            if primal[-1].margin > 0:
                primal.append(polish_primal_ray(self.program, y - y0, radius=PROOF_RADIUS))
            if dual[-1].margin > 0:
                dual.append(polish_dual_ray(self.program, x - x0, radius=PROOF_RADIUS))
        return max(primal, key=_read_radius), max(dual, key=_read_radius)


def _read_radius(proof: RayProof) -> float:
    return proof.radius


@dataclass(frozen=True)
class ProgramWatch(Certificate):
    """Ends the search of a splitting's fixed point once its points solve the program, or prove that nothing does.

    Args:
        judge: of the points.
    """

    judge: ProgramJudge

    def follow(self, evidence: Evidence) -> Knowledge:
        codes = torch.full_like(evidence.problems, LimitStatus.RUNNING.code)
        memory = dict(evidence.memory) or {"first": evidence.points}
        look, is_between = divmod(evidence.iteration, LOOK_PERIOD)
        if look and not is_between and bool(evidence.values.isfinite().all()):
            codes[:] = self._look(evidence, memory["first"], look).code
        return Knowledge(status_codes=codes, memory=memory)

    def _look(
        self,
        evidence: Evidence,
        first: torch.Tensor,
        look: int,
    ) -> LimitStatus:
        """Return how the search stands: at an optimum, at a proof, or on its way."""
        value = evidence.values[0].numpy()
        if self.judge.measure_value(value).largest <= self.judge.tolerance:
            return LimitStatus.CONVERGED
        if is_ray_look(look):
            judgement = self.judge.judge_point(first[0].numpy(), evidence.points[0].numpy(), value)
            if judgement.verdict is not Verdict.UNDECIDED:
                return ENDS[judgement.verdict]
        return LimitStatus.RUNNING


def is_ray_look(look: int) -> bool:
    """Return whether rays are searched at a look, counted from 1: more and more rarely, as each search costs more."""
    if look == 1:
        return True
    return floor(log(look) / log(RAY_GROWTH)) > floor(log(look - 1) / log(RAY_GROWTH))
