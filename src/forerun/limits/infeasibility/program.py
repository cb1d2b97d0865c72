"""Program: a linear or convex quadratic program, as the user has it and scaled for an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from scipy import sparse
    from scipy.sparse.linalg import eigsh
except ImportError as error:
    raise ImportError("programs need scipy: pip install 'forerun[limits]'") from error

Vector = NDArray[np.float64]
SparseMatrix = Any  # scipy.sparse.csr_array

SCALING_PASSES = 10
NEGATIVE_SHARE = 1e-9  # of the largest eigenvalue, below which one of P counts as negative
DENSE_QUADRATIC_SIZE = 200  # variables, up to which all eigenvalues of P are computed


@dataclass(frozen=True, eq=False)
class Program:
    """A convex program in the form of OSQP, with bounds of variables of their own.

        min  x' P x / 2 + c' x    such that    row_lower <= A x <= row_upper    and    lower <= x <= upper

    `prepare_program` makes one; infinite limits are none.

    Attributes:
        cost: `c`, `(N,)`.
        matrix: `A`, `(M, N)`, a sparse array in rows.
        row_lower: `(M,)`.
        row_upper: `(M,)`.
        lower: `(N,)`.
        upper: `(N,)`.
        quadratic: `P`, `(N, N)`, symmetric without negative eigenvalues; without entries in a linear program.
    """

    cost: Vector
    matrix: SparseMatrix
    row_lower: Vector
    row_upper: Vector
    lower: Vector
    upper: Vector
    quadratic: SparseMatrix

    @property
    def variables(self) -> int:
        """`N`."""
        return len(self.cost)

    @property
    def rows(self) -> int:
        """`M`."""
        return len(self.row_lower)

    def evaluate_objective(self, x: Vector) -> float:
        """Return the objective at a point."""
        return float(x @ (self.quadratic @ x) / 2 + self.cost @ x)


@dataclass(frozen=True, eq=False)
class ScaledProgram:
    """A program whose rows and columns have the same size, and how its points read in the user's units.

    Attributes:
        program: scaled: variables `x / columns`, rows times `rows`, the objective times `objective`.
        columns: `(N,)`.
        rows: `(M,)`.
        objective: a positive number.
    """

    program: Program
    columns: Vector
    rows: Vector
    objective: float

    def restore_point(self, x: Vector) -> Vector:
        """Return the variables in the user's units."""
        return self.columns * x

    def restore_multipliers(self, y: Vector) -> Vector:
        """Return the multipliers of the rows in the user's units."""
        return self.rows * y / self.objective

    def restore_reduced(self, z: Vector) -> Vector:
        """Return the multipliers of the bounds in the user's units."""
        return z / (self.columns * self.objective)


def prepare_program(
    cost: ArrayLike,
    matrix: Any = None,
    *,
    quadratic: Any = None,
    row_lower: ArrayLike | None = None,
    row_upper: ArrayLike | None = None,
    lower: ArrayLike | float = -np.inf,
    upper: ArrayLike | float = np.inf,
) -> Program:
    """Return a program that can be solved; `solve_qp` says what the arguments are.

    Raises:
        ValueError: shapes do not belong together, numbers are not finite, limits cross, or `quadratic` is not convex.
    """
    costs = np.array(cost, dtype=np.float64)
    if costs.ndim != 1 or not len(costs):
        raise ValueError(f"cost has the shape {list(costs.shape)}; pass one number for each variable, (N,)")
    count = len(costs)
    rows = _take_matrix(np.zeros((0, count)) if matrix is None else matrix, "matrix", columns=count)
    program = Program(
        cost=costs,
        matrix=rows,
        row_lower=_take_limits(row_lower, rows.shape[0], "row_lower", -np.inf),
        row_upper=_take_limits(row_upper, rows.shape[0], "row_upper", np.inf),
        lower=_take_limits(lower, count, "lower", -np.inf),
        upper=_take_limits(upper, count, "upper", np.inf),
        quadratic=_take_quadratic(quadratic, count),
    )
    _refuse_numbers(program)
    _refuse_limits(program.row_lower, program.row_upper, "row")
    _refuse_limits(program.lower, program.upper, "variable")
    return program


def gather_linprog(
    c: ArrayLike,
    *,
    A_ub: Any = None,
    b_ub: ArrayLike | None = None,
    A_eq: Any = None,
    b_eq: ArrayLike | None = None,
    bounds: Sequence[tuple[float | None, float | None]] | tuple[float | None, float | None] = (0, None),
) -> dict[str, Any]:
    """Return the arguments of `solve_lp` for a program written for `scipy.optimize.linprog`, whose names these are."""
    count = np.asarray(c).size
    blocks, lower, upper = [], [np.zeros(0)], [np.zeros(0)]
    if A_ub is not None:
        blocks.append(sparse.csr_array(A_ub))
        upper.append(np.asarray(b_ub, dtype=np.float64).ravel())
        lower.append(np.full(len(upper[-1]), -np.inf))
    if A_eq is not None:
        blocks.append(sparse.csr_array(A_eq))
        upper.append(np.asarray(b_eq, dtype=np.float64).ravel())
        lower.append(upper[-1])
    pairs = np.array(bounds, dtype=np.float64)  # None becomes nan
    pairs = np.broadcast_to(pairs, (count, 2))
    return {
        "cost": c,
        "matrix": sparse.vstack(blocks, format="csr") if blocks else None,
        "row_lower": np.concatenate(lower),
        "row_upper": np.concatenate(upper),
        "lower": np.where(np.isnan(pairs[:, 0]), -np.inf, pairs[:, 0]),
        "upper": np.where(np.isnan(pairs[:, 1]), np.inf, pairs[:, 1]),
    }


def scale_program(program: Program) -> ScaledProgram:
    """Return the program equilibrated by Ruiz's passes, with a cost of size one (OSQP, section 5.1)."""
    columns, rows = np.ones(program.variables), np.ones(program.rows)
    matrix, quadratic = program.matrix.copy(), program.quadratic.copy()
    for _ in range(SCALING_PASSES):
        column_sizes = np.maximum(_column_sizes(matrix), _column_sizes(quadratic))
        column_step = 1 / np.sqrt(np.where(column_sizes > 0, column_sizes, 1.0))
        row_sizes = _column_sizes(matrix.T)
        row_step = 1 / np.sqrt(np.where(row_sizes > 0, row_sizes, 1.0))
        matrix = _scale_both(row_step, matrix, column_step)
        quadratic = _scale_both(column_step, quadratic, column_step)
        columns, rows = columns * column_step, rows * row_step
    cost = columns * program.cost
    size = max(float(np.abs(cost).max()), float(_column_sizes(quadratic).mean()))
    objective = 1 / size if size > 0 else 1.0
    scaled = Program(
        cost=objective * cost,
        matrix=matrix,
        row_lower=rows * program.row_lower,
        row_upper=rows * program.row_upper,
        lower=program.lower / columns,
        upper=program.upper / columns,
        quadratic=sparse.csr_array(objective * quadratic),
    )
    return ScaledProgram(scaled, columns, rows, objective)


def _scale_both(
    left: Vector,
    matrix: SparseMatrix,
    right: Vector,
) -> SparseMatrix:
    """Return a matrix with its rows and columns scaled."""
    return sparse.csr_array(sparse.diags_array(left) @ matrix @ sparse.diags_array(right))


def _column_sizes(matrix: SparseMatrix) -> Vector:
    """Return the largest size of the entries of each column, 0 where there are none."""
    if not matrix.nnz:
        return np.zeros(matrix.shape[1])
    return np.asarray(abs(matrix).max(axis=0).todense(), dtype=np.float64).ravel()


def _take_matrix(
    matrix: Any,
    name: str,
    *,
    columns: int,
) -> SparseMatrix:
    """Return a matrix as a sparse array in rows."""
    if hasattr(matrix, "detach"):
        matrix = matrix.detach().cpu().numpy()
    array = sparse.csr_array(matrix if sparse.issparse(matrix) else np.atleast_2d(np.asarray(matrix, np.float64)))
    if array.shape[1] != columns:
        raise ValueError(
            f"{name} has the shape {list(array.shape)}, but cost has {columns} variables; pass one column for each"
        )
    array = array.astype(np.float64)
    array.eliminate_zeros()
    return array


def _take_limits(
    limits: ArrayLike | None,
    count: int,
    name: str,
    default: float,
) -> Vector:
    """Return one limit for each row or variable."""
    values = np.array(default if limits is None else limits, dtype=np.float64)
    if values.ndim == 0:
        values = np.full(count, float(values))
    if values.shape != (count,):
        raise ValueError(f"{name} has the shape {list(values.shape)}, but must have one number for each of {count}")
    return values


def _take_quadratic(quadratic: Any, count: int) -> SparseMatrix:
    """Return the matrix of the objective, once it is seen to be symmetric and convex."""
    if quadratic is None:
        return sparse.csr_array((count, count), dtype=np.float64)
    matrix = _take_matrix(quadratic, "quadratic", columns=count)
    if matrix.shape != (count, count):
        raise ValueError(f"quadratic has the shape {list(matrix.shape)}, but must be square, ({count}, {count})")
    difference = abs(matrix - matrix.T)
    if difference.nnz and difference.max() > 1e-12 * abs(matrix).max():
        raise ValueError("quadratic is not symmetric; pass (P + P.T) / 2, which has the same objective")
    if matrix.nnz and np.isfinite(matrix.data).all():
        smallest, largest = _extreme_eigenvalues(matrix)
        if smallest < -NEGATIVE_SHARE * max(largest, -smallest):
            raise ValueError(
                f"quadratic has the eigenvalue {smallest:.3g}: the program is not convex, and what a splitting ends at "
                "need not be its minimum; pass a matrix without negative eigenvalues"
            )
    return matrix


def _extreme_eigenvalues(matrix: SparseMatrix) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of a symmetric matrix."""
    if matrix.shape[0] <= DENSE_QUADRATIC_SIZE:
        values = np.linalg.eigvalsh(matrix.toarray())
        return float(values[0]), float(values[-1])
    largest = float(eigsh(matrix, 1, which="LA", return_eigenvectors=False)[0])
    # of largest I - P the largest is quick to find, which the smallest of P is not
    shifted = largest * sparse.eye_array(matrix.shape[0], format="csr") - matrix
    return largest - float(eigsh(shifted, 1, which="LA", return_eigenvectors=False)[0]), largest


def _refuse_numbers(program: Program) -> None:
    """Refuse numbers that are not finite."""
    for name in ("cost", "matrix", "quadratic"):
        values = getattr(program, name)
        numbers = values.data if sparse.issparse(values) else values
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} has {int((~np.isfinite(numbers)).sum())} entries that are not finite")


def _refuse_limits(
    lower: Vector,
    upper: Vector,
    name: str,
) -> None:
    """Refuse limits between which there is nothing."""
    is_wrong = ~(lower <= upper) | (lower == np.inf) | (upper == -np.inf)
    if is_wrong.any():
        place = int(is_wrong.argmax())
        raise ValueError(
            f"{name} {place} must lie between {lower[place]} and {upper[place]}, where there is nothing; pass lower <= "
            "upper, and -inf or inf for no limit"
        )
