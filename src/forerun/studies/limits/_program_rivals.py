"""What other solvers say of a program, and Farkas vectors in exact arithmetic: independent of forerun's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import inf, isfinite
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


def ask_ours(program: Program, splitting: Splitting, method: LimitMethod, budget: int) -> Answer:
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


def prove_exactly(program: Program, verdict: Verdict, vector: Vector) -> float:
    """Return the size below which nothing is feasible by a ray, in fractions; 0 where it proves nothing."""
    ray = [Fraction(float(entry)) for entry in vector]
    if verdict is Verdict.PRIMAL_INFEASIBLE:
        reduced = [-entry for entry in multiply_exactly(program.matrix.T, ray)]
        limited = chain(
            zip(ray, program.row_lower, program.row_upper, strict=True),
            zip(reduced, program.lower, program.upper, strict=True),
        )
        terms = [(entry, float(high if entry > 0 else low)) for entry, low, high in limited]
        margin = -sum(entry * Fraction(limit) for entry, limit in terms if isfinite(limit))
        lacking = sum((abs(entry) for entry, limit in terms if not isfinite(limit)), Fraction(0))
    else:
        moves = chain(
            zip(multiply_exactly(program.matrix, ray), program.row_lower, program.row_upper, strict=True),
            zip(ray, program.lower, program.upper, strict=True),
        )
        margin = -sum(Fraction(float(cost)) * entry for cost, entry in zip(program.cost, ray, strict=True))
        lacks = [abs(entry) for entry, low, high in moves if isfinite(high if entry > 0 else low)]
        lacking = sum([*lacks, *map(abs, multiply_exactly(program.quadratic, ray))], Fraction(0))
    if margin <= 0:
        return 0.0
    return float(margin / lacking) if lacking else inf


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
