"""Polishing: a ray as an iteration leaves it, brought onto the conditions that it must keep exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import lsmr

from forerun.limits.infeasibility.program import Program, SparseMatrix, Vector
from forerun.limits.infeasibility.proofs import (
    RayProof,
    clip_direction,
    clip_multipliers,
    largest_size,
    prove_dual_ray,
    prove_primal_ray,
)

SUPPORT_SHARES = (1e-1, 1e-2, 1e-4)  # of the largest element, below which one of the ray is taken for zero
POLISHING_PASSES = 4  # of projecting and clipping, for one support
DENSE_PROJECTION_SIZE = 400  # rows or columns, up to which a projection is made by a dense least squares
PROJECTION_PRECISION = 1e-15
MAX_PROJECTION_STEPS = 500


def polish_primal_ray(
    program: Program,
    y: Vector,
    *,
    radius: float,
) -> RayProof:
    """Return the proof of the best ray near multipliers of the rows; the first whose radius is large enough."""
    transposed = program.matrix.T.tocsr()

    def clip_ray(ray: Vector) -> Vector:
        return clip_multipliers(ray, program.row_lower, program.row_upper)

    def list_conditions(ray: Vector) -> SparseMatrix:
        z = -(transposed @ ray)
        return transposed[np.flatnonzero(z != clip_multipliers(z, program.lower, program.upper))]

    return _polish_ray(y, clip_ray, list_conditions, lambda ray: prove_primal_ray(program, ray), radius=radius)


def polish_dual_ray(
    program: Program,
    direction: Vector,
    *,
    radius: float,
) -> RayProof:
    """Return the proof of the best ray near a direction; the first whose radius is large enough."""

    def clip_ray(ray: Vector) -> Vector:
        return clip_direction(ray, program.lower, program.upper)

    def list_conditions(ray: Vector) -> SparseMatrix:
        activity = program.matrix @ ray
        is_illegal = activity != clip_direction(activity, program.row_lower, program.row_upper)
        return sparse.vstack([program.quadratic, program.matrix[np.flatnonzero(is_illegal)]], format="csr")

    return _polish_ray(direction, clip_ray, list_conditions, lambda ray: prove_dual_ray(program, ray), radius=radius)


def _polish_ray(
    vector: Vector,
    clip_ray: Callable[[Vector], Vector],
    list_conditions: Callable[[Vector], SparseMatrix],
    prove_ray: Callable[[Vector], RayProof],
    *,
    radius: float,
) -> RayProof:
    """Return the proof of the best ray near a vector.

    In turn the ray is projected onto the kernel of the conditions that it breaks, and clipped to the signs that its
    limits allow; first with its large elements alone, as the others are mostly what the iteration has not yet lost.
    """
    vector = clip_ray(vector)
    best = prove_ray(vector)
    for share in SUPPORT_SHARES:
        ray = np.where(np.abs(vector) > share * largest_size(vector), vector, 0.0)
        for _ in range(POLISHING_PASSES):
            if best.radius >= radius:
                return best
            ray = clip_ray(project_kernel(list_conditions(ray), ray))
            best = max(best, prove_ray(ray), key=lambda proof: proof.radius)
    return best


def project_kernel(conditions: SparseMatrix, vector: Vector) -> Vector:
    """Return the nearest vector with the same zeros that a matrix takes to zero."""
    places = np.flatnonzero(vector)
    columns = conditions[:, places]
    if not columns.nnz:
        return vector
    projected = vector.copy()
    for _ in range(2):  # a second time for the rounding of the first
        projected[places] -= columns.T @ _solve_least_squares(columns.T, projected[places])
    return projected


def _solve_least_squares(matrix: SparseMatrix, target: Vector) -> Vector:
    """Return the smallest solution of a least squares problem."""
    if max(matrix.shape) <= DENSE_PROJECTION_SIZE:
        dense: Vector = np.linalg.lstsq(matrix.toarray(), target, rcond=None)[0]
        return dense
    precision = {"atol": PROJECTION_PRECISION, "btol": PROJECTION_PRECISION, "maxiter": MAX_PROJECTION_STEPS}
    solution: Vector = lsmr(matrix, target, **precision)[0]
    return solution
