"""Splittings: nonexpansive maps whose fixed points are the solutions of a program.

Where there is no solution the points travel by the infimal displacement vector, whose parts are a primal ray, a dual
ray, or both (Banjac, Goulart, Stellato and Boyd, JOTA 183, 2019; Applegate, Diaz, Lu and Lubin, SIAM J. Optim. 34,
2024).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu, svds
from torch import Tensor

from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.limits.infeasibility.program import ScaledProgram, SparseMatrix, Vector

EQUALITY_WEIGHT = 1e3  # of rows whose limits are the same, times that of the others (OSQP)
PROXIMAL_WEIGHT = 1e-6  # of the variables (OSQP)
DENSE_NORM_SIZE = 3  # rows or columns, up to which all singular values are computed
STEP_SHARE = 0.99  # of the longest step


class ProgramMap(Map):
    """A splitting of a scaled program; its state is one tensor, float64 `(D,)`.

    Args:
        scaled: the program.
        weight: of the dual against the primal part; any positive number, but a good one makes a splitting fast.
        relaxation: of the step; 2 is the largest with which the map is nonexpansive.
    """

    def __init__(
        self,
        scaled: ScaledProgram,
        weight: float,
        relaxation: float,
    ) -> None:
        self.program = scaled.program
        self.weight = weight
        self.relaxation = relaxation

    def evaluate(self, state: Tree) -> Tree:
        return torch.from_numpy(self.step_state(state.numpy()))

    @abstractmethod
    def step_state(self, state: Vector) -> Vector:
        """Return the next state."""

    @abstractmethod
    def begin_state(
        self,
        x: Vector,
        y: Vector,
        z: Vector,
    ) -> Tensor:
        """Return the state of variables `(N,)` and multipliers of rows `(M,)` and of bounds `(N,)`."""

    @abstractmethod
    def read_state(self, state: Vector) -> tuple[Vector, Vector, Vector]:
        """Return the variables and the multipliers of rows and bounds of a state."""


@final
class DouglasRachford(ProgramMap):
    """Douglas-Rachford splitting: one solve with a sparse matrix that is factorised once (OSQP's iteration).

        (x', v') = argmin  x' P x / 2 + c' x + s |x - x_k|^2 / 2 + |K x - (2 p - v_k)|^2_R / 2,    p = clip(v_k)
        x_{k+1} = x_k + a (x' - x_k),    v_{k+1} = v_k + a (K x' - p)

    with `K` the rows and the bounds of variables (Stellato et al., Math. Program. Comput. 12, 2020).
    """

    def __init__(
        self,
        scaled: ScaledProgram,
        weight: float,
        relaxation: float = 2.0,
    ) -> None:
        super().__init__(scaled, weight, relaxation)
        program = self.program
        self.bounded = np.flatnonzero(np.isfinite(program.lower) | np.isfinite(program.upper))
        selection = sparse.eye_array(program.variables, format="csr")[self.bounded]
        stacked = sparse.vstack([program.matrix, selection], format="csr")
        self.floor = np.concatenate([program.row_lower, program.lower[self.bounded]])
        self.ceiling = np.concatenate([program.row_upper, program.upper[self.bounded]])
        self.weights = np.where(self.floor == self.ceiling, EQUALITY_WEIGHT * weight, weight)
        proximal = PROXIMAL_WEIGHT * sparse.eye_array(program.variables)
        blocks = [[program.quadratic + proximal, stacked.T], [stacked, -sparse.diags_array(1 / self.weights)]]
        self.solve = splu(sparse.block_array(blocks, format="csc")).solve

    def step_state(self, state: Vector) -> Vector:
        count = self.program.variables
        x, v = state[:count], state[count:]
        clipped = np.clip(v, self.floor, self.ceiling)
        target = np.concatenate([PROXIMAL_WEIGHT * x - self.program.cost, 2 * clipped - v])
        solution = self.solve(target)
        nearest = 2 * clipped - v + solution[count:] / self.weights
        moves = np.concatenate([solution[:count] - x, nearest - clipped])
        return state + self.relaxation * moves

    def begin_state(
        self,
        x: Vector,
        y: Vector,
        z: Vector,
    ) -> Tensor:
        values = np.concatenate([self.program.matrix @ x, x[self.bounded]])
        multipliers = np.concatenate([y, z[self.bounded]])
        v = np.clip(values, self.floor, self.ceiling) + multipliers / self.weights
        return torch.from_numpy(np.concatenate([x, v]))

    def read_state(self, state: Vector) -> tuple[Vector, Vector, Vector]:
        count = self.program.variables
        x, v = state[:count], state[count:]
        multipliers = self.weights * (v - np.clip(v, self.floor, self.ceiling))
        z = np.zeros(count)
        z[self.bounded] = multipliers[self.program.rows :]
        return x, multipliers[: self.program.rows], z


@final
class PrimalDual(ProgramMap):
    """The primal-dual hybrid gradient method: two products with the matrix a step, and nothing is factorised.

        x' = clip(x_k - t (P x_k + c + A' y_k))
        y' = y_k + s w - s clip(y_k / s + w),    w = A (2 x' - x_k)
        (x_{k+1}, y_{k+1}) = (x_k, y_k) + a (x' - x_k, y' - y_k)

    (Chambolle and Pock, JMIV 40, 2011; with a quadratic, Condat, JOTA 158, 2013; for linear programs PDLP.) It is
    nonexpansive in a norm of its own.
    """

    def __init__(
        self,
        scaled: ScaledProgram,
        weight: float,
        relaxation: float = 2.0,
    ) -> None:
        program = scaled.program
        curvature = measure_norm(program.quadratic)
        super().__init__(scaled, weight, min(relaxation, 1.5) if curvature else relaxation)
        norm = max(measure_norm(program.matrix), 1e-12)
        self.dual_step = STEP_SHARE * weight / norm
        self.primal_step = STEP_SHARE / (curvature + weight * norm)
        self.transposed = program.matrix.T.tocsr()

    def step_state(self, state: Vector) -> Vector:
        program = self.program
        x, y = state[: program.variables], state[program.variables :]
        slope = program.quadratic @ x + program.cost + self.transposed @ y
        moved = np.clip(x - self.primal_step * slope, program.lower, program.upper)
        shifted = y / self.dual_step + program.matrix @ (2 * moved - x)
        pushed = self.dual_step * (shifted - np.clip(shifted, program.row_lower, program.row_upper))
        return state + self.relaxation * np.concatenate([moved - x, pushed - y])

    def begin_state(
        self,
        x: Vector,
        y: Vector,
        z: Vector,
    ) -> Tensor:
        return torch.from_numpy(np.concatenate([x, y]))

    def read_state(self, state: Vector) -> tuple[Vector, Vector, Vector]:
        x, y = state[: self.program.variables], state[self.program.variables :]
        return x, y, -(self.program.quadratic @ x + self.program.cost + self.transposed @ y)


def measure_norm(matrix: SparseMatrix) -> float:
    """Return the largest singular value."""
    if not matrix.nnz:
        return 0.0
    if min(matrix.shape) <= DENSE_NORM_SIZE:
        return float(np.linalg.norm(matrix.toarray(), 2))
    start = np.ones(min(matrix.shape))
    return float(svds(matrix, 1, v0=start, return_singular_vectors=False)[0])
