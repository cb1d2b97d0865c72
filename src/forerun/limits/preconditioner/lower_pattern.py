"""LowerPattern: the lower triangle of a symmetric matrix, scaled to a diagonal of ones, as arrays of entries.

    A = D (I + S + S') D,    D = diag(A)^1/2,    S strictly lower

Incomplete factors and networks see `S` alone, whose entries have no units; factors are scaled back by `D`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse

ASYMMETRY = 1e-8  # of the largest entry, that a matrix may be unsymmetric by


@dataclass(frozen=True)
class LowerPattern:
    """The strictly lower entries of a scaled matrix, sorted by row and then by column.

    Attributes:
        rows: int64 `(E,)`.
        columns: int64 `(E,)`, each less than its row.
        entries: of `S`, float64 `(E,)`.
        scales: the diagonal of `D`, float64 `(N,)`.
    """

    rows: Tensor
    columns: Tensor
    entries: Tensor
    scales: Tensor

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return len(self.scales)

    @classmethod
    def from_matrix(cls, matrix: scipy.sparse.spmatrix | scipy.sparse.sparray) -> LowerPattern:
        """Return the lower triangle of a sparse symmetric matrix.

        Raises:
            TypeError: it is not a sparse matrix of scipy.
            ValueError: it is empty, not square, symmetric and finite, or its diagonal is not positive.
        """
        lower = refuse_matrix(matrix)
        is_off = lower.row != lower.col
        diagonal = torch.zeros(lower.shape[0], dtype=torch.float64)
        diagonal[torch.from_numpy(lower.row[~is_off]).long()] = torch.from_numpy(lower.data[~is_off])
        if not bool((diagonal > 0).all()):
            place = int((diagonal > 0).to(torch.int8).argmin())
            raise ValueError(
                f"the diagonal entry {place} is {float(diagonal[place]):g}: the matrix is not positive definite, and "
                "has no such factor; reorder or negate it, or solve with scipy.sparse.linalg.minres"
            )
        scales = diagonal.sqrt()
        rows, columns = (torch.from_numpy(places[is_off]).long() for places in (lower.row, lower.col))
        entries = torch.from_numpy(lower.data[is_off]) / (scales[rows] * scales[columns])
        order = torch.argsort(rows * lower.shape[0] + columns)
        return cls(rows[order], columns[order], entries[order], scales)

    def sum_rows(self, values: Tensor) -> Tensor:
        """Return the sums of values of entries `(E, ...)` over each row, `(N, ...)`."""
        return values.new_zeros(self.size, *values.shape[1:]).index_add(0, self.rows, values)

    def sum_columns(self, values: Tensor) -> Tensor:
        """Return the sums of values of entries `(E, ...)` over each column, `(N, ...)`."""
        return values.new_zeros(self.size, *values.shape[1:]).index_add(0, self.columns, values)

    def multiply_scaled(self, vectors: Tensor) -> Tensor:
        """Return `(I + S + S') X` of vectors `(N, K)`."""
        entries = self.entries.to(vectors.dtype).unsqueeze(1)
        return vectors + self.sum_rows(entries * vectors[self.columns]) + self.sum_columns(entries * vectors[self.rows])

    @classmethod
    def join(cls, patterns: list[LowerPattern]) -> LowerPattern:
        """Return the pattern of the block diagonal matrix of several."""
        offsets = [0]
        for pattern in patterns:
            offsets.append(offsets[-1] + pattern.size)
        pairs = list(zip(patterns, offsets[:-1], strict=True))
        return cls(
            torch.cat([pattern.rows + offset for pattern, offset in pairs]),
            torch.cat([pattern.columns + offset for pattern, offset in pairs]),
            torch.cat([pattern.entries for pattern in patterns]),
            torch.cat([pattern.scales for pattern in patterns]),
        )


def refuse_matrix(matrix: Any) -> Any:
    """Return the lower triangle of a matrix in coordinates, in float64, duplicates summed; refuse what has none.

    Raises:
        TypeError: it is not a sparse matrix of scipy.
        ValueError: it is empty, not square, not finite, or not symmetric.
    """
    import scipy.sparse

    if not scipy.sparse.issparse(matrix):
        raise TypeError(
            f"matrix must be sparse, of scipy, got {type(matrix).__name__}; write scipy.sparse.csr_array(matrix)"
        )
    rows, columns = matrix.shape
    if rows != columns or not rows:
        raise ValueError(f"matrix has shape {rows} x {columns}, and must be square with at least one row")
    if matrix.dtype.kind == "c":
        raise ValueError("matrix is complex; factors here are real: solve with scipy.sparse.linalg.splu")
    matrix = scipy.sparse.csr_array(matrix).astype("float64")
    matrix.sum_duplicates()
    largest = abs(matrix.data).max(initial=0.0)
    if not largest < float("inf"):
        raise ValueError("matrix has entries that are not finite; look where they come from")
    difference = abs(matrix - matrix.T)
    if difference.nnz and difference.data.max() > ASYMMETRY * largest:
        raise ValueError(
            f"matrix is not symmetric: entries differ from their mirror images by up to {difference.data.max():.3g}; "
            "conjugate gradients need a symmetric one: pass (A + A.T) / 2, or solve with scipy.sparse.linalg.gmres"
        )
    return scipy.sparse.tril(matrix, format="coo")
