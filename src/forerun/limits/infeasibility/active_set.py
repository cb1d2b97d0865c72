"""The optimum behind a point near it: limits that it pushes against taken for equalities, and those solved for."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from forerun.limits.infeasibility.program import Program, SparseMatrix, Vector
from forerun.limits.infeasibility.proofs import largest_size

REGULARISATION = 1e-9  # of the matrix, so that it can be factorised where limits repeat each other
REFINEMENTS = 5  # by which it is taken out again


def polish_optimum(
    program: Program,
    x: Vector,
    y: Vector,
    z: Vector,
) -> tuple[Vector, Vector]:
    """Return the point and multipliers of the rows that hold where the limits pushed against are equalities.

    A limit counts as pushed against where its multiplier is larger than the distance to it (OSQP, section 3.4); the
    system is regularised, and refined.

    Args:
        program: scaled, so that distances and multipliers can be compared.
        x: a point `(N,)`.
        y: multipliers of the rows `(M,)`.
        z: multipliers of the bounds `(N,)`.
    """
    stacked = sparse.vstack([program.matrix, sparse.eye_array(program.variables, format="csr")], format="csr")
    lower = np.concatenate([program.row_lower, program.lower])
    upper = np.concatenate([program.row_upper, program.upper])
    multipliers, values = np.concatenate([y, z]), stacked @ x
    is_high, is_low = upper - values < multipliers, values - lower < -multipliers
    active = np.flatnonzero(is_high | is_low | (lower == upper))
    targets = np.where(is_high, upper, lower)[active]
    solution = _solve_equalities(program, stacked[active], targets, np.concatenate([x, multipliers[active]]))
    polished = np.zeros_like(multipliers)
    polished[active] = solution[program.variables :]
    return solution[: program.variables], polished[: program.rows]


def _solve_equalities(
    program: Program,
    rows: SparseMatrix,
    targets: Vector,
    first: Vector,
) -> Vector:
    """Return the point and multipliers `(N + A,)` of a program that has equalities alone, the nearest to first ones."""
    count = len(targets)
    sides = np.concatenate([np.full(program.variables, REGULARISATION), np.full(count, -REGULARISATION)])
    exact = sparse.block_array([[program.quadratic, rows.T], [rows, sparse.csr_array((count, count))]], format="csr")
    factors = splu(sparse.csc_array(exact + sparse.diags_array(sides)))
    target = np.concatenate([-program.cost, targets])
    solution = first
    for _ in range(REFINEMENTS):
        solution = solution + factors.solve(target - exact @ solution)
    return solution if np.isfinite(largest_size(solution)) else first
