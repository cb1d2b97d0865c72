"""Streams of systems to try learners on: a Laplacian whose diagonal is shifted, and heat whose coefficient moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sin
from typing import final

import numpy as np
from scipy import sparse

from forerun.limits.relaxation.solvers import SystemMatrix, Unknowns


def build_laplacian(side: int) -> SystemMatrix:
    """Return the five-point Laplacian of a square with `side` inner points each way, in units of the grid, `(N, N)`."""
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(side, side))
    identity = sparse.eye_array(side)
    return sparse.csr_array(sparse.kron(line, identity) + sparse.kron(identity, line))


def draw_shifts(
    count: int,
    shape: tuple[float, float],
    seed: int,
) -> Unknowns:
    """Return shifts of the Laplacian, `(12 c - 3) / 20` with `c` from a Beta distribution, `(count,)`.

    The smallest, -0.15, is close to minus the smallest eigenvalue of ten by ten points, 0.162: systems that are nearly
    singular are among them.
    """
    generator = np.random.default_rng(seed)
    shifts: Unknowns = (12 * generator.beta(*shape, count) - 3) / 20
    return shifts


@final
@dataclass(frozen=True)
class HeatStream:
    """Implicit steps of the heat equation on the unit square, with a coefficient that moves.

        (I - k_t dt Laplacian) u_{t+1} = u_t + dt f_t,    k_t = (1.1 + sin(2 pi t / period)) / 2

    with a source that goes round the square; the context is `k_t`.

    Args:
        side: inner points each way.
        steps: of time.
        step_size: `dt`.
        period: steps after which the coefficient comes back.
    """

    side: int
    steps: int
    step_size: float = 0.05
    period: int = 100

    def __iter__(self) -> Iterator[tuple[SystemMatrix, Unknowns, float]]:
        """Yield the matrix, the right side and the context of each step; sides are those of the exact solution."""
        laplacian = build_laplacian(self.side) * (self.side + 1) ** 2
        identity = sparse.eye_array(self.side**2, format="csr")
        state = np.zeros(self.side**2)
        for step in range(self.steps):
            coefficient = self.coefficient(step)
            matrix = sparse.csr_array(identity + coefficient * self.step_size * laplacian)
            right = state + self.step_size * self._place_source(step)
            yield matrix, right, coefficient
            state = sparse.linalg.spsolve(matrix.tocsc(), right)

    def coefficient(self, step: int) -> float:
        """Return the coefficient of a step, from 0.05 to 1.05."""
        return (1.1 + sin(2 * pi * step / self.period)) / 2

    def _place_source(self, step: int) -> Unknowns:
        """Return the source of a step: a bump on its way round the square."""
        places = (np.arange(self.side) + 1) / (self.side + 1)
        angle = 2 * pi * step / (self.period / 2)
        x, y = 0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)
        bump = np.exp(-50 * ((places[:, None] - x) ** 2 + (places[None, :] - y) ** 2))
        source: Unknowns = 100 * bump.ravel()
        return source
