"""TriangularFactor: a sparse lower factor as a preconditioner, applied exactly or by parallel Jacobi sweeps.

A triangular solve waits for one row after another; `x <- (r - N x) / d` with `L = diag(d) + N` updates all rows at
once, and is exact after as many sweeps as there are levels. A few are enough of a preconditioner. `L` and its transpose
take the same number, so that what is applied stays symmetric: `M' = P(L)' P(L)` with a fixed polynomial `P`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forerun.limits.preconditioner.lower_pattern import LowerPattern

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@dataclass(frozen=True)
class TriangularFactor:
    """`M = L L'` with `L = D (diag(d) + N)` on a pattern.

    Attributes:
        pattern: where entries are, with the scales `D`.
        diagonal: `d`, float64 `(N,)`, positive.
        entries: of `N`, float64 `(E,)`.
        sweeps: of Jacobi for each triangular solve; None solves exactly.
    """

    pattern: LowerPattern
    diagonal: Tensor
    entries: Tensor
    sweeps: int | None = None

    def __post_init__(self) -> None:
        if self.sweeps is not None and self.sweeps < 0:
            raise ValueError(f"sweeps={self.sweeps} is less than none; pass 3, or None for exact solves")
        if not bool((self.diagonal > 0).all()) or not bool(self.entries.isfinite().all()):
            raise ValueError("the factor has entries that are not finite, or a diagonal that is not positive")

    def with_sweeps(self, sweeps: int | None) -> TriangularFactor:
        """Return the factor with another number of sweeps."""
        return TriangularFactor(self.pattern, self.diagonal, self.entries, sweeps)

    def as_operator(self) -> LinearOperator:
        """Return `M^-1` for `scipy.sparse.linalg.cg(A, b, M=...)`."""
        from scipy.sparse.linalg import LinearOperator

        shape = (self.pattern.size, self.pattern.size)
        solve = self._solve_exactly if self.sweeps is None else self._solve_by_sweeps
        return LinearOperator(shape, matvec=lambda residual: solve(residual.reshape(-1)), dtype="float64")

    def apply(self, residual: Tensor) -> Tensor:
        """Return `M^-1 r` of a vector `(N,)`, on its device; by sweeps, which are exact where none are set."""
        matrix, transpose, diagonal, scales = self._on_device(residual)
        sweeps = self.pattern.size if self.sweeps is None else self.sweeps
        middle = sweep_triangle(matrix, diagonal, residual / scales, sweeps)
        solution: Tensor = sweep_triangle(transpose, diagonal, middle, sweeps) / scales
        return solution

    def to_matrix(self) -> Any:
        """Return `L` as a sparse matrix of scipy."""
        import scipy.sparse

        diagonal = scipy.sparse.diags_array(self.diagonal.numpy())
        return (scipy.sparse.diags_array(self.pattern.scales.numpy()) @ (self._strict + diagonal)).tocsr()

    @cached_property
    def _strict(self) -> Any:
        """The strictly lower triangle `N`, of scipy."""
        import scipy.sparse

        places = (self.pattern.rows.numpy(), self.pattern.columns.numpy())
        shape = (self.pattern.size, self.pattern.size)
        return scipy.sparse.csr_array((self.entries.numpy(), places), shape=shape)

    @cached_property
    def _decomposition(self) -> Any:
        """The factor as SuperLU holds it: no pivots and no fill, for quick triangular solves."""
        from scipy.sparse.linalg import splu

        options = {"SymmetricMode": True, "DiagPivotThresh": 0.0}
        return splu(self.to_matrix().tocsc(), permc_spec="NATURAL", options=options)

    def _solve_exactly(self, residual: Any) -> Any:
        return self._decomposition.solve(self._decomposition.solve(residual), trans="T")

    def _solve_by_sweeps(self, residual: Any) -> Any:
        assert self.sweeps is not None
        scales, diagonal = self.pattern.scales.numpy(), self.diagonal.numpy()
        middle = sweep_triangle(self._strict, diagonal, residual / scales, self.sweeps)
        return sweep_triangle(self._strict_transpose, diagonal, middle, self.sweeps) / scales

    @cached_property
    def _strict_transpose(self) -> Any:
        return self._strict.T.tocsr()

    def _on_device(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return `N`, its transpose, `d` and `D` of the kind of a vector."""
        pair = (self._strict, self._strict_transpose)
        matrices = [to_torch(matrix, like) for matrix in pair]
        return matrices[0], matrices[1], self.diagonal.to(like), self.pattern.scales.to(like)


def sweep_triangle(
    strict: Any,
    diagonal: Any,
    right: Any,
    sweeps: int,
) -> Any:
    """Return what Jacobi sweeps make of `(diag(d) + N) x = r`, from `x = r / d`.

    Args:
        strict: `N`, a sparse matrix of scipy or torch.
        diagonal: `d`.
        right: `r`, of the same library.
        sweeps: how many; the solution where they are as many as the triangle has levels.
    """
    x = right / diagonal
    for _ in range(sweeps):
        swept = (right - strict @ x) / diagonal
        if (swept == x).all():
            break
        x = swept
    return x


def to_torch(matrix: Any, like: Tensor) -> Tensor:
    """Return a matrix of scipy as a sparse one of torch, of the dtype and device of a vector."""
    matrix = matrix.tocoo()
    places = torch.stack([torch.from_numpy(matrix.row).long(), torch.from_numpy(matrix.col).long()])
    sparse = torch.sparse_coo_tensor(places, torch.from_numpy(matrix.data), matrix.shape, check_invariants=False)
    return sparse.coalesce().to(like)
