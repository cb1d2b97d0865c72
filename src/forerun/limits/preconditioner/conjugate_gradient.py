"""Preconditioned conjugate gradients, on tensors of any device.

The loop is its own: it needs the residual before and after the preconditioner, and inner products between them, which
no map `x -> T(x)` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.limits.preconditioner.triangular_factor import TriangularFactor, to_torch

INDEFINITE = (
    "{} is not positive definite: a direction p has p'{}p = {:.3g}. Conjugate gradients find no solution there; solve "
    "with scipy.sparse.linalg.minres, or pass the matrix with its sign turned"
)
NOT_REACHED = (
    "conjugate gradients took {} iterations and came to a relative residual of {:.3g}, where {:.3g} was wanted; pass "
    "max_iterations=..., a better factor, b in float64, or throw=False for what there is"
)


@dataclass(frozen=True)
class LinearSolution:
    """What `solve_linear` returns.

    Attributes:
        x: `(N,)`.
        iterations: products with the matrix, the last residual's left out.
        residuals: `|b - A x| / |b|` as the recurrence has them, the first included.
        residual: the last one, from `x` itself.
        is_solved: whether that is what was asked for.
    """

    x: Tensor
    iterations: int
    residuals: Sequence[float]
    residual: float
    is_solved: bool


def solve_linear(
    matrix: Any,
    b: Tensor,
    factor: TriangularFactor | None = None,
    *,
    tolerance: float = 1e-8,
    max_iterations: int | None = None,
    throw: bool = True,
) -> LinearSolution:
    """Solve `A x = b` with a symmetric positive definite matrix by conjugate gradients (Hestenes and Stiefel, 1952).

    Args:
        matrix: sparse, of scipy or torch; or a dense tensor.
        b: right side `(N,)`, floats; the solution is on its device, in its dtype.
        factor: the preconditioner; `sweeps=3` is quick on devices where exact triangular solves are not.
        tolerance: of the residual, relative to `b`.
        max_iterations: that are allowed; ten times the unknowns where left out.
        throw: raise where they were not enough.

    Raises:
        ValueError: the matrix or the factor is not positive definite or does not fit, or `b` is not finite.
        RuntimeError: the tolerance was not reached, and `throw`.
    """
    matrix = matrix if isinstance(matrix, Tensor) else to_torch(matrix, b)
    refuse_right_side(matrix, b)
    size = float(torch.linalg.vector_norm(b))
    allowed = 10 * len(b) if max_iterations is None else max_iterations
    x, residuals = _iterate_gradients(
        matrix, b, _choose_solve(factor), threshold=tolerance * size, max_iterations=allowed
    )
    residual = float(torch.linalg.vector_norm(b - matrix @ x)) / max(size, torch.finfo(b.dtype).tiny)
    # the recurrence drifts away from the true residual by rounding
    is_solved = residual <= 2 * tolerance and residuals[-1] <= tolerance * size
    iterations = len(residuals) - 1
    if throw and not is_solved:
        raise RuntimeError(NOT_REACHED.format(iterations, residual, tolerance))
    relative = [value / size if size else 0.0 for value in residuals]
    return LinearSolution(x, iterations, relative, residual, is_solved)


def _choose_solve(factor: TriangularFactor | None) -> Callable[[Tensor], Tensor]:
    if factor is None:
        return lambda residual: residual
    return factor.apply


def _iterate_gradients(
    matrix: Tensor, b: Tensor, solve: Callable[[Tensor], Tensor], *, threshold: float, max_iterations: int
) -> tuple[Tensor, list[float]]:
    """Return the last point, and the sizes of all residuals."""
    x = torch.zeros_like(b)
    r = b.clone()
    z = solve(r)
    p = z
    product = float(r @ z)
    residuals = [float(torch.linalg.vector_norm(r))]
    while residuals[-1] > threshold and len(residuals) <= max_iterations:
        _refuse_indefinite(product, "the factor's M", "M")
        Ap = matrix @ p
        curvature = float(p @ Ap)
        _refuse_indefinite(curvature, "the matrix", "A ")
        step = product / curvature
        x = x + step * p
        r = r - step * Ap
        z = solve(r)
        new_product = float(r @ z)
        p = z + (new_product / product) * p
        product = new_product
        residuals.append(float(torch.linalg.vector_norm(r)))
    return x, residuals


def _refuse_indefinite(product: float, name: str, symbol: str) -> None:
    if not product > 0:
        raise ValueError(INDEFINITE.format(name, symbol, product))


def refuse_right_side(matrix: Tensor, b: Tensor) -> None:
    """Refuse a right side that does not fit a matrix.

    Raises:
        ValueError: see the message.
    """
    if b.dim() != 1 or matrix.shape != (len(b), len(b)):
        raise ValueError(
            f"b has shape {list(b.shape)} and the matrix {list(matrix.shape)}; pass b of shape (N,), A (N, N)"
        )
    if not b.is_floating_point() or not bool(b.isfinite().all()):
        raise ValueError(f"b must hold finite floats, got {b.dtype}; pass b.double(), and look where nan comes from")
