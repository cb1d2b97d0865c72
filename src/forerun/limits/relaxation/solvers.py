"""Solvers of a linear system with a relaxation parameter: SOR, and conjugate gradients preconditioned by SSOR.

Sweeps are taken in a plain loop: one costs some twenty microseconds for a hundred unknowns, and `fixed_point` would
make it fifty times as dear. `SorMap` is the same sweep as a map, for all that limits can do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, splu

from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree

Unknowns = NDArray[np.float64]
SystemMatrix = Any  # scipy.sparse.csr_array


@dataclass(frozen=True, eq=False)
class SystemSolution:
    """What a solver returns.

    Attributes:
        x: the unknowns `(N,)`.
        iterations: sweeps, or steps of conjugate gradients.
        residual: `|b - A x| / |b|` at the end.
        converged: whether it is at most the tolerance.
    """

    x: Unknowns
    iterations: int
    residual: float
    converged: bool


class RelaxedSolver(ABC):
    """A solver with a relaxation parameter between 0 and 2."""

    @abstractmethod
    def solve_system(
        self,
        matrix: SystemMatrix,
        right: Unknowns,
        omega: float,
    ) -> SystemSolution:
        """Return the solution of `A x = b`, from zero."""


@final
@dataclass(frozen=True)
class Sor(RelaxedSolver):
    """Successive over-relaxation (Young, 1950), in the order of the unknowns.

        (D / omega + L) (x_{k+1} - x_k) = b - A x_k

    Args:
        tolerance: of the residual, relative to the right side.
        max_iterations: sweeps that are allowed.
    """

    tolerance: float = 1e-8
    max_iterations: int = 20_000

    def solve_system(
        self,
        matrix: SystemMatrix,
        right: Unknowns,
        omega: float,
    ) -> SystemSolution:
        solve_lower = factor_lower(matrix, omega)
        x, residual = np.zeros_like(right), right.copy()
        size = float(np.linalg.norm(right))
        threshold = self.tolerance * size
        iterations = 0
        while not np.linalg.norm(residual) <= threshold and iterations < self.max_iterations:
            x = x + solve_lower(residual)
            residual = right - matrix @ x
            iterations += 1
        return _report_solution(matrix, right, x, iterations=iterations, tolerance=self.tolerance)


@final
@dataclass(frozen=True)
class SsorCg(RelaxedSolver):
    """Conjugate gradients with the symmetric sweeps of SOR as a preconditioner; by `scipy.sparse.linalg.cg`.

    Args:
        tolerance: of the residual, relative to the right side.
        max_iterations: steps that are allowed.
    """

    tolerance: float = 1e-8
    max_iterations: int = 20_000

    def solve_system(
        self,
        matrix: SystemMatrix,
        right: Unknowns,
        omega: float,
    ) -> SystemSolution:
        solve_lower, solve_upper = factor_lower(matrix, omega), factor_lower(matrix, omega, transposed=True)
        diagonal = (2 - omega) / omega * matrix.diagonal()
        count = [0]

        def count_step(x: Unknowns) -> None:
            count[0] += 1

        preconditioner = LinearOperator(
            matrix.shape, matvec=lambda vector: solve_upper(diagonal * solve_lower(vector)), dtype=np.float64
        )
        options = {"rtol": self.tolerance, "atol": 0.0, "maxiter": self.max_iterations}
        x, _ = cg(matrix, right, M=preconditioner, callback=count_step, **options)
        return _report_solution(matrix, right, x, iterations=count[0], tolerance=10 * self.tolerance)


def factor_lower(
    matrix: SystemMatrix,
    omega: float,
    *,
    transposed: bool = False,
) -> Callable[[Unknowns], Unknowns]:
    """Return the solver of `D / omega + L`, or of its transpose; nothing is filled in, as it is triangular."""
    lower = sparse.tril(matrix, -1) + sparse.diags_array(matrix.diagonal() / omega)
    triangle = sparse.csc_array(lower.T if transposed else lower)
    solve: Callable[[Unknowns], Unknowns] = splu(triangle, permc_spec="NATURAL", diag_pivot_thresh=0.0).solve
    return solve


def _report_solution(
    matrix: SystemMatrix, right: Unknowns, x: Unknowns, *, iterations: int, tolerance: float
) -> SystemSolution:
    """Return the solution with its residual, computed again from the system."""
    size = float(np.linalg.norm(right))
    residual = float(np.linalg.norm(right - matrix @ x)) / size if size > 0 else 0.0
    return SystemSolution(x, iterations, residual, residual <= tolerance)


@final
class SorMap(Map):
    """One sweep of SOR as a map of the unknowns, float64 `(N,)`; mixing it makes it a Krylov method.

    Args:
        matrix: `A`, a scipy.sparse array in rows.
        right: `b`.
        omega: the relaxation parameter.
    """

    def __init__(
        self,
        matrix: SystemMatrix,
        right: Unknowns,
        omega: float,
    ) -> None:
        self.matrix = matrix
        self.right = right
        self.solve_lower = factor_lower(matrix, omega)

    def evaluate(self, state: Tree) -> Tree:
        x = state.numpy()
        return torch.from_numpy(x + self.solve_lower(self.right - self.matrix @ x))


def count_sor_sweeps(
    matrix: SystemMatrix,
    shifts: Unknowns,
    rights: Unknowns,
    *,
    omega: float,
    tolerance: float = 1e-8,
    max_sweeps: int = 20_000,
) -> NDArray[np.int64]:
    """Return the sweeps `(T,)` that `Sor` takes for many shifts of one matrix, `(A + c_t I) x = b_t`, all at once.

    Args:
        matrix: `A`.
        shifts: `c`, `(T,)`.
        rights: `b`, `(T, N)`.
        omega: the relaxation parameter.
        tolerance: of the residual, relative to the right side.
        max_sweeps: that are allowed.
    """
    rows = sparse.csr_array(matrix)
    problems = np.arange(len(shifts))
    sweeps = np.full(len(shifts), max_sweeps)
    right, shift = np.ascontiguousarray(rights.T), shifts.astype(np.float64)
    thresholds = tolerance * np.linalg.norm(right, axis=0)
    x = np.zeros_like(right)
    for sweep in range(max_sweeps + 1):
        sizes = np.linalg.norm(right - rows @ x - shift * x, axis=0)
        is_done = sizes <= thresholds
        sweeps[problems[is_done]] = sweep
        if is_done.all():
            break
        if is_done.any():
            going = ~is_done
            problems, shift, thresholds = problems[going], shift[going], thresholds[going]
            x, right = np.ascontiguousarray(x[:, going]), np.ascontiguousarray(right[:, going])
        _sweep_together(rows, shift, right, x=x, omega=omega)
    return sweeps


def _sweep_together(
    matrix: SystemMatrix,
    shift: Unknowns,
    right: Unknowns,
    *,
    x: Unknowns,
    omega: float,
) -> None:
    """Take one sweep of all problems in place, `x` `(N, T)`: unknown after unknown."""
    for row in range(matrix.shape[0]):
        begin, end = matrix.indptr[row], matrix.indptr[row + 1]
        residual = right[row] - shift * x[row]
        diagonal = shift.copy()
        for column, value in zip(matrix.indices[begin:end], matrix.data[begin:end], strict=True):
            residual -= value * x[column]
            if column == row:
                diagonal += value
        x[row] += omega * residual / diagonal
