"""What proves a verdict on a program: errors of an optimum, and rays that no feasible point can answer.

All of it is computed from the program as the user gave it, without a look at the iteration that found the vectors.

A *primal ray* `y` (Farkas) shows that nothing is feasible: with `z = -A' y`, every feasible `x` has

    0 = y' A x + z' x <= h(y) + h(z)

with `h` the support functions of the limits, so that `h(y) + h(z) < 0` is a contradiction. A *dual ray* `d` shows that
no multipliers are dual feasible: `P d = 0`, `A d` and `d` go on for ever within the limits, and `c' d < 0`; where a
feasible point is there too, the objective falls without end along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from forerun.limits.infeasibility.program import Program, SparseMatrix, Vector

ROUNDINGS = 4.0  # of a sum, on top of one for each of its terms


@dataclass(frozen=True, eq=False)
class RayProof:
    """What a ray proves, with all rounding counted.

    Attributes:
        vector: the ray, its largest element 1: multipliers of the rows `(M,)`, or a direction `(N,)`.
        margin: by which the contradiction holds; not positive: nothing is proven.
        violation: what the ray lacks of the conditions that it must keep exactly, summed.
        radius: `margin / violation`: proven is that no feasible point (for a dual ray: no feasible multipliers) has all
            elements smaller than this; infinite where nothing is lacking.
    """

    vector: Vector
    margin: float
    violation: float

    @property
    def radius(self) -> float:
        """The size below which there is nothing feasible."""
        if not self.margin > 0:
            return 0.0
        return self.margin / self.violation if self.violation > 0 else float("inf")


@dataclass(frozen=True)
class OptimalityErrors:
    """How far a point and multipliers are from optimal, each relative to the sizes that it is a difference of.

    Attributes:
        primal: largest violation of a limit.
        dual: largest element of `P x + c + A' y + z`.
        gap: difference of the objectives of the program and its dual.
    """

    primal: float
    dual: float
    gap: float

    @property
    def largest(self) -> float:
        """The largest of them; nan where one is."""
        return float(np.max([self.primal, self.dual, self.gap]))


def measure_errors(
    program: Program,
    x: Vector,
    y: Vector,
) -> OptimalityErrors:
    """Return how far a point and multipliers of the rows are from optimal.

    The multipliers of the bounds are those that fit best, `z = -(P x + c + A' y)` where the bounds allow its sign.
    """
    activity, curvature, pull = program.matrix @ x, program.quadratic @ x, program.matrix.T @ y
    reduced = -(curvature + program.cost + pull)
    z = clip_multipliers(reduced, program.lower, program.upper)
    y = clip_multipliers(y, program.row_lower, program.row_upper)
    misses = [_distance_outside(activity, program.row_lower, program.row_upper)]
    misses.append(_distance_outside(x, program.lower, program.upper))
    reach = support(y, program.row_lower, program.row_upper).sum() + support(z, program.lower, program.upper).sum()
    quadratic, linear = float(x @ curvature), float(program.cost @ x)
    sizes = [abs(quadratic), abs(linear), abs(float(reach))]
    return OptimalityErrors(
        primal=max(map(largest_size, misses)) / (1 + max(largest_size(activity), largest_size(x))),
        dual=largest_size(reduced - z)
        / (1 + max(largest_size(curvature), largest_size(pull), largest_size(program.cost))),
        gap=abs(quadratic + linear + float(reach)) / (1 + max(sizes)),
    )


def _distance_outside(
    values: Vector,
    lower: Vector,
    upper: Vector,
) -> Vector:
    """Return how far values lie outside of limits."""
    return np.maximum(np.maximum(lower - values, values - upper), 0.0)


def clip_multipliers(
    multipliers: Vector,
    lower: Vector,
    upper: Vector,
) -> Vector:
    """Return multipliers without those that push against a limit that is not there."""
    highest = np.where(np.isfinite(upper), np.inf, 0.0)
    lowest = np.where(np.isfinite(lower), -np.inf, 0.0)
    return np.clip(multipliers, lowest, highest)


def support(
    multipliers: Vector,
    lower: Vector,
    upper: Vector,
) -> Vector:
    """Return the largest `multiplier * value` between limits, for each; infinite limits count as zero."""
    above = np.where(np.isfinite(upper), upper, 0.0)
    below = np.where(np.isfinite(lower), lower, 0.0)
    return np.where(multipliers > 0, multipliers * above, multipliers * below)


def largest_size(values: Vector) -> float:
    """Return the largest size of the elements, 0 of none."""
    return float(np.abs(values).max()) if len(values) else 0.0


def prove_primal_ray(program: Program, y: Vector) -> RayProof:
    """Return what multipliers of the rows prove of there being no feasible point."""
    y = clip_multipliers(_normalise(y), program.row_lower, program.row_upper)
    z, rounding = multiply_rounded(program.matrix.T, -y)
    high, low = z + rounding, z - rounding
    pairs = ((high, program.lower, program.upper), (low, program.lower, program.upper))
    reaches = np.maximum(*(support(clip_multipliers(end, lower, upper), lower, upper) for end, lower, upper in pairs))
    terms = np.concatenate([support(y, program.row_lower, program.row_upper), reaches])
    illegal_high = np.where(np.isfinite(program.upper), 0.0, np.maximum(high, 0.0))
    illegal_low = np.where(np.isfinite(program.lower), 0.0, np.maximum(-low, 0.0))
    return RayProof(y, -sum_rounded(terms), float(np.maximum(illegal_high, illegal_low).sum()))


def prove_dual_ray(program: Program, direction: Vector) -> RayProof:
    """Return what a direction proves of there being no feasible multipliers."""
    d = clip_direction(_normalise(direction), program.lower, program.upper)
    activity, rounding = multiply_rounded(program.matrix, d)
    high = np.where(np.isfinite(program.row_upper), np.maximum(activity + rounding, 0.0), 0.0)
    low = np.where(np.isfinite(program.row_lower), np.maximum(rounding - activity, 0.0), 0.0)
    curvature, curvature_rounding = multiply_rounded(program.quadratic, d)
    bent = np.where(np.abs(curvature) + curvature_rounding > 0, np.abs(curvature) + curvature_rounding, 0.0)
    return RayProof(d, -sum_rounded(program.cost * d), float(np.maximum(high, low).sum() + bent.sum()))


def clip_direction(
    direction: Vector,
    lower: Vector,
    upper: Vector,
) -> Vector:
    """Return a direction without the elements that run against a limit."""
    highest = np.where(np.isfinite(upper), 0.0, np.inf)
    lowest = np.where(np.isfinite(lower), 0.0, -np.inf)
    return np.clip(direction, lowest, highest)


def multiply_rounded(matrix: SparseMatrix, vector: Vector) -> tuple[Vector, Vector]:
    """Return a product, and a bound of its rounding in each element."""
    rows = sparse.csr_array(matrix)
    terms = np.diff(rows.indptr) + ROUNDINGS
    epsilon = np.finfo(np.float64).eps
    return rows @ vector, terms * epsilon * (abs(rows) @ np.abs(vector))


def sum_rounded(terms: Vector) -> float:
    """Return a sum, from above."""
    rounding = (len(terms) + ROUNDINGS) * np.finfo(np.float64).eps * float(np.abs(terms).sum())
    return float(terms.sum()) + rounding


def _normalise(vector: Vector) -> Vector:
    """Return a vector whose largest element is 1, or zero where it is zero or not finite."""
    size = largest_size(vector)
    if not 0 < size < np.inf:
        return np.zeros_like(vector)
    return vector / size
