"""The second-order test of a stationary point of `min_x max_y f`, where the inner Hessian may be singular.

With `A = f_xx`, `B = f_yy`, `C = f_xy`, a local minimax point has `B <= 0`, and `v' (A - C B+ C') v >= 0` for every `v`
that `C'` takes into the range of `B`: the restricted Schur complement (Chae, Kim and Kim, 2024, section 4). Along all
other `v` the maximum over y outweighs whatever x does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.limits.extragradient.rules import Objective, PicardSteps, Players, ascend

RANK_SHARE = 1e-9  # of the largest eigenvalue or singular value, below which one counts as zero
MAX_JUDGED_SIZE = 1000  # numbers of both players, up to which a Hessian is made


@dataclass(frozen=True)
class StationaryVerdict:
    """What the second derivatives say of a point.

    Attributes:
        slope: largest element of the gradient there.
        ascent_curvature: largest eigenvalue of `f_yy`; positive: y can still climb.
        descent_curvature: smallest eigenvalue of the restricted Schur complement; negative: x can still descend;
            infinite where no direction is left in which x is not outweighed.
        is_degenerate: whether `f_yy` is singular.
    """

    slope: float
    ascent_curvature: float
    descent_curvature: float
    is_degenerate: bool

    def is_local_minimax(self, precision: float = 1e-6) -> bool:
        """Return whether the necessary conditions of a local minimax point hold, to a precision."""
        is_stationary = self.slope <= precision
        return is_stationary and self.ascent_curvature <= precision and self.descent_curvature >= -precision

    def __str__(self) -> str:
        """Describe the point in a sentence."""
        if not self.is_local_minimax():
            return (
                f"The point is not a local minimax point: its slope is {self.slope:.2g}, the largest curvature of y "
                f"{self.ascent_curvature:.2g}, the smallest that is left to x {self.descent_curvature:.2g}."
            )
        kind = "singular" if self.is_degenerate else "regular"
        return f"The necessary conditions of a local minimax point hold, with {kind} curvature of y."


def judge_stationary(objective: Objective, x: Tree, y: Tree) -> StationaryVerdict:
    """Judge a stationary point by its second derivatives.

    Args:
        objective: takes both points to a number.
        x: point of the player who descends, a tree of tensors.
        y: point of the player who ascends.

    Raises:
        ValueError: there are too many numbers for a Hessian.
    """
    flat = FlatGame.from_players(objective, {"x": x, "y": y})
    hessian = flat.hessian()
    size = flat.x_size
    outer, cross, inner = hessian[:size, :size], hessian[:size, size:], hessian[size:, size:]
    values, vectors = torch.linalg.eigh(inner)
    is_zero = values.abs() <= RANK_SHARE * values.abs().amax().clamp_min(1.0)
    inverse = torch.where(is_zero, 0.0, 1 / torch.where(is_zero, 1.0, values))
    schur = outer - cross @ (vectors * inverse) @ vectors.mT @ cross.mT
    left = find_null_space((cross @ vectors[:, is_zero]).mT)
    curvatures = torch.linalg.eigvalsh(left.mT @ schur @ left)
    slopes = pytree.tree_leaves(ascend(objective, {"x": x, "y": y}))
    return StationaryVerdict(
        slope=max(float(leaf.abs().max()) for leaf in slopes),
        ascent_curvature=float(values.amax()),
        descent_curvature=float(curvatures.amin()) if len(curvatures) else float("inf"),
        is_degenerate=bool(is_zero.any()),
    )


def step_radius(
    objective: Objective,
    x: Tree,
    y: Tree,
    rule: PicardSteps,
) -> float:
    """Return the spectral radius of a rule at a stationary point: below 1 it is attracted there.

    With `M = L DF` the rule's Jacobian is `sum_{k <= depth} (-step M)^k`, and `(I + step M)^-1` for the implicit step.
    """
    flat = FlatGame.from_players(objective, {"x": x, "y": y})
    field = flat.hessian().clone()
    field[flat.x_size :] *= -1
    field[: flat.x_size] /= rule.timescale
    eigenvalues = -rule.step_size * torch.linalg.eigvals(field)
    if rule.depth is None:
        return float((1 / (1 - eigenvalues)).abs().max())
    multipliers = sum(eigenvalues**exponent for exponent in range(rule.depth + 1))
    return float(torch.as_tensor(multipliers).abs().max())


def find_null_space(matrix: Tensor) -> Tensor:
    """Return an orthonormal basis `(n, k)` of what a matrix `(m, n)` takes to zero."""
    if not matrix.numel():
        return torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    _, values, right = torch.linalg.svd(matrix, full_matrices=True)
    rank = int((values > RANK_SHARE * values.amax().clamp_min(1.0)).sum())
    basis: Tensor = right[rank:].mT
    return basis


@dataclass(frozen=True)
class FlatGame:
    """A game of two trees as a function of one vector: all of x, then all of y."""

    objective: Objective
    point: Tensor
    x_size: int
    players: Players

    @classmethod
    def from_players(cls, objective: Objective, players: Players) -> FlatGame:
        """Return the game at a point.

        Raises:
            ValueError: there are too many numbers for a Hessian.
        """
        x_leaves, y_leaves = (pytree.tree_leaves(players[name]) for name in ("x", "y"))
        point = torch.cat([leaf.detach().flatten() for leaf in (*x_leaves, *y_leaves)])
        if len(point) > MAX_JUDGED_SIZE:
            raise ValueError(
                f"the players have {len(point)} numbers, and a Hessian is made for at most {MAX_JUDGED_SIZE}; judge a "
                "smaller model, or pass judged=False"
            )
        return cls(objective, point, sum(leaf.numel() for leaf in x_leaves), players)

    def hessian(self) -> Tensor:
        """Return the second derivatives of the objective, `(n, n)`."""
        leaves, structure = pytree.tree_flatten(self.players)
        sizes = [leaf.numel() for leaf in leaves]

        def evaluate(vector: Tensor) -> Tensor:
            parts = [part.reshape(leaf.shape) for part, leaf in zip(vector.split(sizes), leaves, strict=True)]
            players = pytree.tree_unflatten(parts, structure)
            return self.objective(players["x"], players["y"])

        second: Tensor = torch.func.hessian(evaluate)(self.point)
        return second
