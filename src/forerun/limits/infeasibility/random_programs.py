"""Random programs of a kind that is known beforehand: solvable, degenerate, and infeasible in three ways."""

from __future__ import annotations

from enum import Enum

import numpy as np
from scipy import sparse

from forerun.limits.infeasibility.program import Program, Vector, prepare_program

DENSITY = 0.3  # share of entries of the matrix
QUADRATIC_RANK_SHARE = 0.5  # of the variables, that the quadratic of a program has as its rank


class ProgramKind(Enum):
    """What a random program is made to be."""

    SOLVABLE = "solvable"
    DEGENERATE = "degenerate: many optima, repeated rows, limits that meet at its point"
    PRIMAL_INFEASIBLE = "primal infeasible"
    DUAL_INFEASIBLE = "dual infeasible"
    BOTH_INFEASIBLE = "primal and dual infeasible"


def draw_program(
    kind: ProgramKind,
    seed: int,
    *,
    variables: int = 30,
    is_quadratic: bool = False,
) -> Program:
    """Return a random program: a third of its rows equalities, the others with one limit or two, variables from 0 on.

    An optimal point and its multipliers are drawn first, and limits that suit them; a ray is then put into the program
    that makes it infeasible.

    Args:
        kind: what it is made to be.
        seed: of the random numbers.
        variables: `N`; there are half as many rows.
        is_quadratic: with a quadratic of half rank.
    """
    generator = np.random.default_rng(seed)
    rows = max(variables // 2, 1)
    matrix = generator.standard_normal((rows, variables)) * (generator.random((rows, variables)) < DENSITY)
    x = np.abs(generator.standard_normal(variables)) * (generator.random(variables) < 0.5)
    direction = np.zeros(variables)
    if kind in {ProgramKind.DUAL_INFEASIBLE, ProgramKind.BOTH_INFEASIBLE}:
        direction = np.abs(generator.standard_normal(variables)) * (generator.random(variables) < 0.5)
        direction[0] = 1.0
        matrix = _remove_direction(matrix, direction)
    factor = generator.standard_normal((int(QUADRATIC_RANK_SHARE * variables), variables)) * is_quadratic
    factor = _remove_direction(factor, direction)
    if kind is ProgramKind.DEGENERATE:
        matrix = np.concatenate([matrix, matrix[: rows // 2], np.zeros((1, variables))])
    lower, upper, y = _draw_limits(generator, matrix @ x)
    pressure = np.abs(generator.standard_normal(variables)) * (x == 0)
    if kind is ProgramKind.DEGENERATE:
        pressure *= generator.random(variables) < 0.5  # without pressure on all of them, optima are many
    quadratic = factor.T @ factor / variables
    cost = -quadratic @ x - matrix.T @ y + pressure
    if direction.any():
        cost = cost - direction * (cost @ direction + 1) / (direction @ direction)
    if kind in {ProgramKind.PRIMAL_INFEASIBLE, ProgramKind.BOTH_INFEASIBLE}:
        matrix, lower, upper = _contradict_rows(generator, matrix, lower, upper)
        matrix = _remove_direction(matrix, direction)
    return prepare_program(
        cost,
        sparse.csr_array(matrix),
        quadratic=sparse.csr_array(quadratic),
        row_lower=lower,
        row_upper=upper,
        lower=0.0,
    )


def _remove_direction(matrix: Vector, direction: Vector) -> Vector:
    """Return a matrix that takes a direction to zero, by a change of its first column alone."""
    if not direction.any():
        return matrix
    changed = matrix.copy()
    changed[:, 0] -= matrix @ direction / direction[0]
    return changed


def _draw_limits(generator: np.random.Generator, activity: Vector) -> tuple[Vector, Vector, Vector]:
    """Return limits of rows around their values, and multipliers that they allow."""
    count = len(activity)
    kinds = generator.integers(0, 3, count)  # equality, upper limit, two limits
    is_tight = generator.random(count) < 0.6
    room = np.where(is_tight, 0.0, np.abs(generator.standard_normal(count)) + 0.1)
    upper = activity + np.where(kinds == 0, 0.0, room)
    lower = np.select([kinds == 0, kinds == 1], [activity, np.full(count, -np.inf)], activity - 1)
    y = np.where(kinds == 0, generator.standard_normal(count), np.abs(generator.standard_normal(count)) * is_tight)
    return lower, upper, y


def _contradict_rows(
    generator: np.random.Generator, matrix: Vector, lower: Vector, upper: Vector
) -> tuple[Vector, Vector, Vector]:
    """Return the rows with one more, which no nonnegative point keeps together with the others."""
    weights = np.abs(generator.standard_normal(len(matrix))) * (generator.random(len(matrix)) < 0.5)
    weights[0] = 1.0
    slack = np.abs(generator.standard_normal(matrix.shape[1])) * (generator.random(matrix.shape[1]) < 0.5)
    # weights' A x <= weights' upper, so that a row below it cannot be above that limit
    row = weights @ matrix - slack
    bound = float(weights @ upper) + 0.5
    return np.vstack([matrix, row]), np.append(lower, bound), np.append(upper, np.inf)
