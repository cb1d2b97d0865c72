"""Jacobian: estimated derivatives of outputs with respect to inputs, a base with a few directions added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from forerun.engine.rows import apply_slopes


@dataclass(frozen=True)
class Jacobian:
    """Estimates for `n` consecutive steps, `J = B + sum_k w_k p_k^T`.

    Attributes:
        base: `B`, scalar, diagonal or dense slopes `(n, ...)`; None for zero.
        left: `w`, `(n, *batch, K, E)`.
        right: `p`, `(n, *batch, K, D)`.
    """

    base: Tensor | None
    left: Tensor
    right: Tensor

    @classmethod
    def from_base(
        cls,
        base: Tensor | None,
        *,
        inputs: Tensor,
        outputs: Tensor,
    ) -> Jacobian:
        """Return the base alone, for steps with rows like these."""
        return cls(
            base,
            left=outputs.unsqueeze(-2)[..., :0, :],
            right=inputs.unsqueeze(-2)[..., :0, :],
        )

    @property
    def has_dense_base(self) -> bool:
        """Whether the base is a matrix a step."""
        return self.base is not None and self.base.dim() == self.left.dim()

    @property
    def rank(self) -> int:
        """Number of directions that are added to the base, `K`."""
        return self.left.shape[-2]

    def multiply_moves(self, moves: Tensor) -> Tensor:
        """Return `J m` of moves `(n, *batch, D)`."""
        if self.base is None:
            return self.multiply_low_rank(moves)
        product = apply_slopes(self.base, moves)
        if not self.rank:
            return product
        return product + self.multiply_low_rank(moves)

    def multiply_low_rank(self, moves: Tensor) -> Tensor:
        """Return `(J - B) m`: what the base leaves out."""
        weights = (self.right @ moves.unsqueeze(-1)).transpose(-1, -2)
        return (weights @ self.left).squeeze(-2)

    def select_step(self, index: int) -> Jacobian:
        """Return the estimate of one step, with a leading axis of 1, in memory of its own."""
        base = self.base
        if base is not None:
            base = base[index : index + 1].clone()
        return Jacobian(base, self.left[index : index + 1].clone(), self.right[index : index + 1].clone())

    def select_steps(self, indices: Sequence[int]) -> Jacobian:
        """Return the estimates of some steps, in memory of their own."""
        base = self.base
        if base is not None:
            base = base[indices]
        return Jacobian(base, self.left[indices], self.right[indices])

    def cut_at(self, count: int) -> Jacobian:
        """Return the estimates of the first steps."""
        base = self.base
        if base is not None:
            base = base[:count]
        return Jacobian(base, self.left[:count], self.right[:count])

    def repeat_steps(self, count: int) -> Jacobian:
        """Return the estimate of one step for some steps."""
        base = self.base
        if base is not None:
            base = base.expand(count, *base.shape[1:])
        left = self.left.expand(count, *self.left.shape[1:])
        return Jacobian(base, left, self.right.expand(count, *self.right.shape[1:]))

    def split_steps(self) -> list[Jacobian]:
        """Return one estimate a step, each with a leading axis of 1."""
        count = len(self.left)
        bases: list[Tensor | None] = [None] * count
        if self.base is not None:
            bases = list(self.base.split(1))
        jacobians = []
        for base, left, right in zip(bases, self.left.split(1), self.right.split(1), strict=True):
            jacobians.append(Jacobian(base, left, right))
        return jacobians
