"""What other solvers say of a program, and Farkas vectors in exact arithmetic: independent of forerun's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import inf, isfinite
from statistics import median
from typing import Any

import numpy as np

from forerun.limits import LimitMethod
from forerun.limits.infeasibility import Program, Verdict, solve_program
from forerun.limits.infeasibility.program import SparseMatrix, Vector
from forerun.limits.infeasibility.solve import Splitting

RAY_PRECISION = 1e-7  # by which a direction of size one must descend to count
RIVAL_TOLERANCE = 1e-6
RIVAL_ITERATIONS = 20_000

STATUS_VERDICTS = {
    "solved": Verdict.SOLVED,
    "primal infeasible": Verdict.PRIMAL_INFEASIBLE,
    "infeasible": Verdict.PRIMAL_INFEASIBLE,
    "dual infeasible": Verdict.DUAL_INFEASIBLE,
    "unbounded": Verdict.DUAL_INFEASIBLE,
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What a solver says of a program.

    Attributes:
        verdict: what it says.
        iterations: after which.
        ray: what it gives for an infeasible program; None where it is left out.
    """

    verdict: Verdict
    iterations: int
    ray: Vector | None = None


def ask_ours(
    program: Program,
    splitting: Splitting,
    method: LimitMethod,
    budget: int,
) -> Answer:
    """Return the verdict of forerun by a splitting and a method, in at most as many evaluations."""
    limit = solve_program(program, splitting=splitting, method=method, max_evaluations=budget, throw=False)
    proof = limit.primal_proof if limit.verdict is Verdict.PRIMAL_INFEASIBLE else limit.dual_proof
    return Answer(limit.verdict, limit.evaluations, proof.vector)


def list_right_verdicts(program: Program) -> set[Verdict]:
    """Return the verdicts that hold, by HiGHS: of the program's limits, and of its directions that descend."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import vstack

    rows = LinearConstraint(program.matrix, program.row_lower, program.row_upper)
    point = milp(np.zeros(program.variables), constraints=rows, bounds=Bounds(program.lower, program.upper))
    flat = np.zeros(program.variables)
    floor = np.concatenate([np.where(np.isfinite(program.row_lower), 0.0, -inf), flat])
    ceiling = np.concatenate([np.where(np.isfinite(program.row_upper), 0.0, inf), flat])
    cone = LinearConstraint(vstack([program.matrix, program.quadratic]), floor, ceiling)
    box = Bounds(np.where(np.isfinite(program.lower), 0.0, -1.0), np.where(np.isfinite(program.upper), 0.0, 1.0))
    descent = milp(program.cost, constraints=cone, bounds=box).fun
    verdicts = set()
    if point.status == 2:
        verdicts.add(Verdict.PRIMAL_INFEASIBLE)
    if descent < -RAY_PRECISION:
        verdicts.add(Verdict.DUAL_INFEASIBLE)
    return verdicts or {Verdict.SOLVED}


def ask_osqp(program: Program) -> Answer:
    """Return the verdict of OSQP, its iterations, and the ray that it gives for an infeasible program."""
    import osqp
    from scipy.sparse import csc_matrix, eye_array, vstack

    solver = osqp.OSQP()
    solver.setup(
        P=csc_matrix(program.quadratic),
        q=program.cost,
        A=csc_matrix(vstack([program.matrix, eye_array(program.variables)])),
        l=np.concatenate([program.row_lower, program.lower]),
        u=np.concatenate([program.row_upper, program.upper]),
        eps_abs=RIVAL_TOLERANCE,
        eps_rel=RIVAL_TOLERANCE,
        max_iter=RIVAL_ITERATIONS,
        verbose=False,
    )
    answer = solver.solve(raise_error=False)
    verdict = STATUS_VERDICTS.get(answer.info.status, Verdict.UNDECIDED)
    is_primal = verdict is Verdict.PRIMAL_INFEASIBLE
    ray = answer.prim_inf_cert[: program.rows] if is_primal else answer.dual_inf_cert
    return Answer(verdict, int(answer.info.iter), ray)


def ask_scs(program: Program) -> Answer:
    """Return the verdict of SCS, and its iterations; its own Anderson acceleration is on."""
    import scs
    from scipy.sparse import csc_matrix, eye_array, vstack

    rows = vstack([program.matrix, eye_array(program.variables)], format="csr")
    lower = np.concatenate([program.row_lower, program.lower])
    upper = np.concatenate([program.row_upper, program.upper])
    is_equal = lower == upper
    has_upper, has_lower = ~is_equal & np.isfinite(upper), ~is_equal & np.isfinite(lower)
    data = {
        "P": csc_matrix(program.quadratic),
        "c": program.cost,
        "A": csc_matrix(vstack([rows[is_equal], rows[has_upper], -rows[has_lower]])),
        "b": np.concatenate([upper[is_equal], upper[has_upper], -lower[has_lower]]),
    }
    cone = {"z": int(is_equal.sum()), "l": int(has_upper.sum() + has_lower.sum())}
    settings: dict[str, Any] = {"eps_abs": RIVAL_TOLERANCE, "eps_rel": RIVAL_TOLERANCE, "eps_infeas": RIVAL_TOLERANCE}
    info = scs.SCS(data, cone, max_iters=RIVAL_ITERATIONS, verbose=False, **settings).solve()["info"]
    return Answer(STATUS_VERDICTS.get(info["status"], Verdict.UNDECIDED), int(info["iter"]))


def prove_exactly(
    program: Program,
    verdict: Verdict,
    vector: Vector,
) -> float:
    """Return the size below which nothing is feasible by a ray, in fractions; 0 where it proves nothing."""
    ray = [Fraction(float(entry)) for entry in vector]
    prove = _prove_primal if verdict is Verdict.PRIMAL_INFEASIBLE else _prove_dual
    margin, lacking = prove(program, ray)
    if margin <= 0:
        return 0.0
    return float(margin / lacking) if lacking else inf


def _prove_primal(program: Program, ray: list[Fraction]) -> tuple[Fraction, Fraction]:
    """Return the margin of a contradiction by multipliers of the rows, and what they lack."""
    reduced = [-entry for entry in multiply_exactly(program.matrix.T, ray)]
    limited = chain(
        zip(ray, program.row_lower, program.row_upper, strict=True),
        zip(reduced, program.lower, program.upper, strict=True),
    )
    margin, lacking = Fraction(0), Fraction(0)
    for entry, low, high in limited:
        limit = float(high if entry > 0 else low)
        if isfinite(limit):
            margin -= entry * Fraction(limit)
        else:
            lacking += abs(entry)
    return margin, lacking


def _prove_dual(program: Program, ray: list[Fraction]) -> tuple[Fraction, Fraction]:
    """Return by how much the objective falls along a direction, and what it lacks to go on for ever."""
    moves = chain(
        zip(multiply_exactly(program.matrix, ray), program.row_lower, program.row_upper, strict=True),
        zip(ray, program.lower, program.upper, strict=True),
    )
    descents = [Fraction(float(cost)) * entry for cost, entry in zip(program.cost, ray, strict=True)]
    lacking = sum(map(abs, multiply_exactly(program.quadratic, ray)), Fraction(0))
    for entry, low, high in moves:
        if isfinite(high if entry > 0 else low):
            lacking += abs(entry)
    return -sum(descents, Fraction(0)), lacking


def multiply_exactly(matrix: SparseMatrix, vector: list[Fraction]) -> list[Fraction]:
    """Return a product in fractions."""
    sums = [Fraction(0)] * matrix.shape[0]
    entries = matrix.tocoo()
    for row, column, value in zip(*entries.coords, entries.data, strict=True):
        sums[row] += Fraction(float(value)) * vector[column]
    return sums


def prove_rays(programs: Sequence[Program], answers: Sequence[Answer]) -> list[float]:
    """Return the size below which nothing is feasible, by the ray of every answer that has one."""
    return [
        prove_exactly(program, answer.verdict, answer.ray)
        for program, answer in zip(programs, answers, strict=True)
        if answer.ray is not None and answer.verdict in {Verdict.PRIMAL_INFEASIBLE, Verdict.DUAL_INFEASIBLE}
    ]


def summarise_answers(
    programs: Sequence[Program],
    answers: Sequence[Answer],
    *,
    missing: int,
) -> dict[str, float]:
    """Return how many verdicts are right and wrong, after how many iterations, and what the rays prove.

    Args:
        programs: that were asked for.
        answers: of one solver.
        missing: iterations that count for a program that is not decided.
    """
    pairs = list(zip(programs, answers, strict=True))
    hits = [answer.verdict in list_right_verdicts(program) for program, answer in pairs]
    costs = sorted(answer.iterations for answer, is_right in zip(answers, hits, strict=True) if is_right)
    undecided = sum(answer.verdict is Verdict.UNDECIDED for answer in answers)
    figures: dict[str, float] = {f"decided {place}": cost for place, cost in enumerate(costs)}
    return figures | {
        "right": len(costs),
        "wrong": len(programs) - len(costs) - undecided,
        "median": median([*costs, *[missing] * (len(programs) - len(costs))]),
        "radius": min(prove_rays(programs, answers), default=0.0),
    }
