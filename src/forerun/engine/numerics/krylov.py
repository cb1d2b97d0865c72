"""Krylov spaces of many linear maps at once: the Arnoldi process, and GMRES on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LinearMap = Callable[[Tensor], Tensor]  # rows (A, D) -> rows (A, D)

BREAKDOWN = 10.0  # roundings of the first vector's image, below which a Krylov space is complete


@dataclass(frozen=True)
class KrylovSpace:
    """Orthonormal bases of Krylov spaces, `A V_m = V_{m+1} H`.

    Attributes:
        basis: `(A, m + 1, D)`; zero rows where a space was complete before.
        hessenberg: `(A, m + 1, m)`.
        lengths: of the vectors that they begin with, `(A,)`.
    """

    basis: Tensor
    hessenberg: Tensor
    lengths: Tensor

    @classmethod
    def begin(cls, vectors: Tensor) -> KrylovSpace:
        """Return the spaces of vectors `(A, D)` alone."""
        lengths = torch.linalg.vector_norm(vectors, dim=-1)
        basis = torch.where(lengths.unsqueeze(-1) > 0, vectors / lengths.unsqueeze(-1), 0.0).unsqueeze(1)
        return cls(basis, vectors.new_zeros(len(vectors), 1, 0), lengths)

    def extend(self, apply: LinearMap) -> KrylovSpace:
        """Return the spaces with one more dimension; two passes of Gram and Schmidt keep the basis orthonormal."""
        image = apply(self.basis[:, -1])
        scale = torch.linalg.vector_norm(image, dim=-1)
        coefficients = torch.zeros_like(self.basis[..., 0])
        for _ in range(2):
            correction = (self.basis @ image.unsqueeze(-1)).squeeze(-1)
            image = image - (correction.unsqueeze(1) @ self.basis).squeeze(1)
            coefficients = coefficients + correction
        length = torch.linalg.vector_norm(image, dim=-1)
        is_new = length > BREAKDOWN * torch.finfo(image.dtype).eps * scale
        length = torch.where(is_new, length, 0.0)
        direction = torch.where(is_new.unsqueeze(-1), image / length.unsqueeze(-1), 0.0)
        column = torch.cat([coefficients, length.unsqueeze(-1)], -1).unsqueeze(-1)
        padded = torch.nn.functional.pad(self.hessenberg, (0, 0, 0, 1))
        basis = torch.cat([self.basis, direction.unsqueeze(1)], 1)
        return KrylovSpace(basis, torch.cat([padded, column], -1), self.lengths)

    def minimise_residual(self) -> tuple[Tensor, Tensor]:
        """Return the solutions `(A, D)` of `A x = v` in the spaces with the smallest residuals, and those `(A,)`."""
        count = self.hessenberg.shape[-1]
        right = self.hessenberg.new_zeros(*self.hessenberg.shape[:-1], 1)
        right[:, 0, 0] = self.lengths
        H = self.hessenberg
        # columns of a space that was complete before are zero: the pseudoinverse leaves them out
        weights = torch.linalg.pinv(H, rtol=torch.finfo(H.dtype).eps * count) @ right
        residuals = torch.linalg.vector_norm((H @ weights - right).squeeze(-1), dim=-1)
        return (weights.mT @ self.basis[:, :count]).squeeze(1), residuals


def solve_gmres(
    apply: LinearMap,
    right: Tensor,
    *,
    accuracy: float,
    max_steps: int,
) -> tuple[Tensor, Tensor]:
    """Return solutions `(A, D)` of `apply(x) = right`, and the lengths of their residuals `(A,)`.

    Args:
        apply: a linear map of rows `(A, D)`.
        right: `(A, D)`.
        accuracy: of the residual, relative to the right-hand side, at which it stops for all rows.
        max_steps: applications at most.
    """
    space = KrylovSpace.begin(right)
    solutions, residuals = torch.zeros_like(right), space.lengths
    for _ in range(min(max_steps, right.shape[-1])):
        if not bool((residuals > accuracy * space.lengths).any()):
            break
        space = space.extend(apply)
        solutions, residuals = space.minimise_residual()
    return solutions, residuals
