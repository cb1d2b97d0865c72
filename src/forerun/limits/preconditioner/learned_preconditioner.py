"""LearnedPreconditioner: a factor of the pattern of a matrix, from a network trained on matrices like it.

    minimise the mean of |L L' x - A x|^2 over solutions x of systems A x = b

(Li, Chen, Du and Matusik, arXiv 2305.16432, ICML 2023.) Solutions of an elliptic problem are smooth, and it is on these
that incomplete factors are bad. Whatever the network says, the factor is positive definite and conjugate gradients
converge: a bad one costs iterations, never the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from forerun.limits.preconditioner.factor_network import FactorNetwork
from forerun.limits.preconditioner.lower_pattern import LowerPattern
from forerun.limits.preconditioner.triangular_factor import TriangularFactor

DIFFUSION_WEIGHTS = "diffusion.safetensors"
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class TrainingSystem:
    """A matrix to learn from.

    Attributes:
        pattern: of it.
        vectors: solutions in the scale of the pattern, of size one, `(N, K)`.
    """

    pattern: LowerPattern
    vectors: Tensor


@final
class LearnedPreconditioner:
    """A network that factorises matrices of a family, of any size.

        preconditioner = LearnedPreconditioner.train(matrices)   # scipy.sparse, some tens of them
        factor = preconditioner.factorise(A)                     # another one of the family
        x, _ = scipy.sparse.linalg.cg(A, b, M=factor.as_operator())
        solution = solve_linear(A, b, preconditioner.factorise(A, sweeps=3))

    Args:
        network: trained, or not: it then gives the symmetric Gauss-Seidel factor.
    """

    def __init__(self, network: FactorNetwork | None = None) -> None:
        self.network = network or FactorNetwork()
        self.losses: list[float] = []

    def factorise(self, matrix: Any, sweeps: int | None = None) -> TriangularFactor:
        """Return the factor of a symmetric positive definite matrix of scipy.

        Args:
            matrix: sparse `(N, N)`.
            sweeps: of Jacobi for each triangular solve; None solves exactly.

        Raises:
            ValueError: it has no such factor, or the network gives one that is not finite.
        """
        pattern = LowerPattern.from_matrix(matrix)
        with torch.no_grad():
            diagonal, entries = self.network(pattern)
        return TriangularFactor(pattern, diagonal.double(), entries.double(), sweeps)

    @classmethod
    def train(
        cls,
        matrices: Sequence[Any],
        *,
        solutions: Sequence[Tensor] | None = None,
        width: int = 16,
        rounds: int = 4,
        steps: int = 1500,
        batch: int = 4,
        rate: float = 3e-3,
        seed: int = 0,
        progress: bool = False,
    ) -> Self:
        """Train on matrices of one family: a PDE on one kind of mesh, with other coefficients.

        Args:
            matrices: sparse, symmetric positive definite, of scipy; sizes may differ.
            solutions: of systems with each of them, `(N, K)`; by default of 16 right sides that are drawn.
            width: of the network's states.
            rounds: of messages.
            steps: of Adam, with a learning rate that rises and falls.
            batch: matrices in a step.
            rate: the largest learning rate.
            seed: of weights and draws.
            progress: show a bar.

        Raises:
            ValueError: there is no matrix, one is not symmetric positive definite, or solutions do not fit.
        """
        systems = gather_systems(matrices, solutions, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            preconditioner = cls(FactorNetwork(width, rounds))
        parameters = list(preconditioner.network.parameters())
        optimizer = torch.optim.Adam(parameters, rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
        for _ in tqdm(range(steps), desc="training", disable=not progress):
            chosen = torch.randperm(len(systems), generator=generator)[:batch].tolist()
            loss = measure_loss(preconditioner.network, [systems[place] for place in chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            preconditioner.losses.append(float(loss.detach()))
        return preconditioner

    def save(self, path: str | Path) -> None:
        """Write the weights to one safetensors file."""
        sizes = {"width": str(self.network.width), "rounds": str(len(self.network.edge_rounds))}
        save_file(self.network.state_dict(), path, metadata=sizes)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                sizes = file.metadata() or {}
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            network = FactorNetwork(int(sizes["width"]), int(sizes["rounds"]))
            network.load_state_dict(weights)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path} holds no weights of a LearnedPreconditioner ({error}); pass a file that save(path) wrote"
            ) from error
        return cls(network)

    @classmethod
    def for_diffusion(cls) -> Self:
        """Return the one that ships: diffusion through a medium of uneven conductivity, five points on a square."""
        path = files("forerun.limits.preconditioner") / "weights" / DIFFUSION_WEIGHTS
        return cls.load(Path(str(path)))


def gather_systems(matrices: Sequence[Any], solutions: Sequence[Tensor] | None, seed: int) -> list[TrainingSystem]:
    """Return matrices with solutions of size one, in the scale of their patterns.

    Raises:
        ValueError: there is none, or they do not fit.
    """
    if not len(matrices):
        raise ValueError("there are no matrices to train on; pass some tens of the family that is to be solved")
    if solutions is not None and len(solutions) != len(matrices):
        raise ValueError(f"{len(solutions)} sets of solutions for {len(matrices)} matrices; pass one (N, K) for each")
    generator = torch.Generator().manual_seed(seed)
    systems = []
    for place, matrix in enumerate(matrices):
        pattern = LowerPattern.from_matrix(matrix)
        vectors = draw_solutions(matrix, generator) if solutions is None else solutions[place].double()
        if vectors.dim() != 2 or len(vectors) != pattern.size or not bool(vectors.isfinite().all()):
            raise ValueError(
                f"solutions {place} have shape {list(vectors.shape)}, and must be finite and ({pattern.size}, K)"
            )
        scaled = vectors * pattern.scales.unsqueeze(1)
        sizes = scaled.square().mean(0).sqrt()
        systems.append(TrainingSystem(pattern, (scaled / sizes.clamp_min(1e-300)).float()))
    return systems


def draw_solutions(matrix: Any, generator: torch.Generator, count: int = 16) -> Tensor:
    """Return solutions `(N, K)` of systems with right sides of normal numbers."""
    from scipy.sparse.linalg import splu

    right = torch.randn(matrix.shape[0], count, generator=generator, dtype=torch.float64)
    return torch.from_numpy(splu(matrix.tocsc()).solve(right.numpy()))


def measure_loss(network: FactorNetwork, systems: Sequence[TrainingSystem]) -> Tensor:
    """Return the mean of `|L L' x - A x|^2` over solutions, of one graph that all systems are parts of."""
    pattern = LowerPattern.join([system.pattern for system in systems])
    x = torch.cat([system.vectors for system in systems])
    diagonal, entries = (output.unsqueeze(1) for output in network(pattern))
    middle = diagonal * x + pattern.sum_columns(entries * x[pattern.rows])
    product = diagonal * middle + pattern.sum_rows(entries * middle[pattern.columns])
    loss: Tensor = (product - pattern.multiply_scaled(x)).square().mean()
    return loss
