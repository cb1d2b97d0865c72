"""Matrix sensing by gradient descent: the path from a small beginning, in order and ahead, and what it passes by.

    f(U) = mean_i (<A_i, U U^T> - y_i)^2 / 4,    U_{t+1} = U_t - rate grad f(U_t),    U_0 = scale * normal

From a small scale the path stays near the best solutions of rank 1, 2, ... one after another (Jin, Li, Lyu, Du and Lee,
arXiv 2301.11500). Measurements are folded into one matrix, so that a step does not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.options import SolveOptions
from forerun.engine.process import Affine, Process
from forerun.engine.solution import Solution
from forerun.engine.solve import solve

__all__ = ["SensingDescent", "SensingPath", "SensingProblem", "descend"]

POLISH_STEPS = 400


@dataclass(frozen=True)
class SensingProblem:
    """Linear measurements of a symmetric matrix, folded.

    Attributes:
        gram: mean of `vec(A_i) vec(A_i)^T`, `(d * d, d * d)`.
        right: mean of `y_i A_i`, `(d, d)`.
        square: mean of `y_i^2`.
    """

    gram: Tensor
    right: Tensor
    square: float

    @classmethod
    def from_measurements(cls, matrices: Tensor, values: Tensor) -> SensingProblem:
        """Return the problem of some measurements; of a matrix that is not symmetric its symmetric part counts.

        Args:
            matrices: `A_i`, `(m, d, d)`.
            values: `y_i`, `(m,)`.

        Raises:
            ValueError: shapes that do not fit, or numbers that are not finite.
        """
        if matrices.dim() != 3 or matrices.shape[1] != matrices.shape[2] or values.shape != matrices.shape[:1]:
            raise ValueError(
                f"measurements are matrices (m, d, d) with values (m,), got {tuple(matrices.shape)} and "
                f"{tuple(values.shape)}"
            )
        if not bool(torch.isfinite(matrices).all() & torch.isfinite(values).all()):
            raise ValueError("measurements must be finite: drop those that are not")
        symmetric = (matrices + matrices.mT) / 2
        rows = symmetric.flatten(1)
        right = (values[:, None, None] * symmetric).mean(0)
        return cls(rows.T @ rows / len(rows), right, float(values.square().mean()))

    @classmethod
    def draw_random(
        cls,
        size: int,
        eigenvalues: Tensor,
        measurements: int,
        seed: int = 0,
    ) -> SensingProblem:
        """Return normal measurements of a random matrix with some eigenvalues; the others are zero."""
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator)).Q
        basis = basis[:, : len(eigenvalues)]
        truth = (basis * eigenvalues) @ basis.T
        matrices = torch.randn(measurements, size, size, dtype=torch.float64, generator=generator)
        return cls.from_measurements(matrices, (matrices * truth).sum((1, 2)))

    @property
    def size(self) -> int:
        """The number `d` of rows."""
        return len(self.right)

    def measure_loss(self, factors: Tensor) -> Tensor:
        """Return `f` of factors `(..., d, r)`."""
        products = (factors @ factors.mT).flatten(-2)
        fit = (products * (products @ self.gram)).sum(-1)
        loss: Tensor = (fit - 2 * products @ self.right.flatten() + self.square) / 4
        return loss

    def compute_gradient(self, factors: Tensor) -> Tensor:
        """Return the gradient of `f` at factors `(..., d, r)`."""
        products = (factors @ factors.mT).flatten(-2)
        residual = (products @ self.gram).unflatten(-1, self.right.shape) - self.right
        gradient: Tensor = residual @ factors
        return gradient

    def find_minimizer(self, rank: int) -> Tensor:
        """Return the best matrix of a rank, `(d, d)`, by L-BFGS from the largest eigenvectors of `right`.

        It is not the truncated truth: measurements weigh what is left out.
        """
        if not 1 <= rank <= self.size:
            raise ValueError(f"a rank lies between 1 and {self.size}, got {rank}")
        values, vectors = torch.linalg.eigh(self.right)
        factors = vectors[:, -rank:] * values[-rank:].clamp_min(1e-3).sqrt()
        factors = factors.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [factors], max_iter=POLISH_STEPS, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def evaluate_loss() -> Tensor:
            factors.grad = self.compute_gradient(factors.detach())
            return self.measure_loss(factors.detach())

        optimizer.step(evaluate_loss)
        minimizer: Tensor = (factors @ factors.mT).detach()
        return minimizer


class SensingDescent(Process):
    """Gradient descent on a sensing problem: a step is `U - rate * gradient`.

    Args:
        problem: that is descended on.
        rate: of the steps.
        length: number of steps.
    """

    def __init__(self, problem: SensingProblem, rate: float, length: int) -> None:
        self.problem, self.rate, self.length = problem, rate, length

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return self.problem.compute_gradient(inputs)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return state - self.rate * output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=1.0, output=-self.rate)


@dataclass(frozen=True)
class SensingPath:
    """The path of a descent.

    Attributes:
        solution: of the solve: rounds, evaluations, status.
        matrices: `U_t U_t^T` of all steps, `(steps + 1, d, d)`.
    """

    solution: Solution
    matrices: Tensor

    def measure_distances(self, target: Tensor) -> Tensor:
        """Return the distances of all steps from a matrix, in the Frobenius norm, `(steps + 1,)`."""
        distances: Tensor = torch.linalg.matrix_norm(self.matrices - target)
        return distances


def descend(
    problem: SensingProblem,
    rank: int,
    *,
    scale: float = 1e-6,
    rate: float = 0.02,
    steps: int = 3000,
    seed: int = 0,
    options: SolveOptions | None = None,
    **settings: Any,
) -> SensingPath:
    """Return the path of gradient descent from a small random beginning.

    Args:
        problem: that is descended on.
        rank: columns of the factor: as many as rows, or fewer than the truth's rank (under-parameterised).
        scale: of the beginning; the smaller, the nearer the path comes to the solution of every rank.
        rate: of the steps; below about one over four times the largest eigenvalue.
        steps: how many are taken.
        seed: of the beginning.
        options: of `solve`, or its settings as keywords: `window=`, `tolerance=`, `method=`.

    Raises:
        ValueError: a rank, scale or rate out of range.
    """
    if not 1 <= rank <= problem.size:
        raise ValueError(f"a factor has 1 to {problem.size} columns, got rank={rank}")
    if not (0 < scale < float("inf") and 0 < rate < float("inf")):
        raise ValueError(f"scale and rate must be above zero and finite, got {scale} and {rate}")
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(problem.size, rank, dtype=torch.float64, generator=generator)
    start = start.to(problem.right) * (scale / problem.size**0.5)
    process = SensingDescent(problem, rate, steps)
    solution = solve(process, start, options=options, path=True, **settings)
    factors = torch.stack(solution.path or [start])
    return SensingPath(solution, factors @ factors.mT)
