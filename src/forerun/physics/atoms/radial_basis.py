"""RadialBasis: Legendre-Gauss-Lobatto elements on a mesh; integrals, and matrices of radial operators."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from forerun.physics.atoms.legendre import evaluate_legendre, find_gauss_points, find_lobatto_points, integrate_basis


@final
class RadialBasis:
    """Continuous functions that are polynomials on every element, zero at both ends, and their quadrature.

    The basis functions are those of Lagrange on the Legendre-Gauss-Lobatto points of each element. Integrals are taken
    by Gauss, exactly for products of two basis functions.

    Attributes:
        edges: ends of the elements, `(E + 1,)`, in Bohr radii.
        degree: of the polynomials.
        points: of the quadrature, `(E, Q)`.
        weights: of the quadrature, `(E, Q)`.
        size: number of basis functions, B = E degree - 1.
    """

    def __init__(self, edges: Tensor, degree: int) -> None:
        self.edges = edges
        self.degree = degree
        self.size = (len(edges) - 1) * degree - 1
        gauss, gauss_weights = find_gauss_points(2 * degree + 1)
        self.halves = (edges.diff() / 2).unsqueeze(-1)
        self.points = edges[:-1].unsqueeze(-1) + self.halves * (gauss + 1)
        self.weights = self.halves * gauss_weights
        inverse = torch.linalg.inv(evaluate_legendre(find_lobatto_points(degree), degree)[0])
        values, slopes = evaluate_legendre(gauss, degree)
        self._values = values @ inverse
        self._slopes = slopes @ inverse
        self._cumulative = integrate_basis(gauss, gauss_weights)
        overlap = self.assemble_matrix(torch.ones_like(self.points))
        self._factor = torch.linalg.cholesky(overlap)
        self.kinetic = self._scale_matrix(self._assemble(self.weights / self.halves**2 / 2, self._slopes))
        self.centrifugal = self.weigh_potential(1 / (2 * self.points**2))

    def assemble_matrix(self, potential: Tensor) -> Tensor:
        """Return the integrals of a potential `(E, Q)` with all pairs of basis functions, `(B, B)`."""
        return self._assemble(self.weights * potential, self._values)

    def weigh_potential(self, potential: Tensor) -> Tensor:
        """Return the matrix of a potential `(E, Q)` in the orthonormal basis, `(B, B)`."""
        return self._scale_matrix(self.assemble_matrix(potential))

    def diagonalise_operator(
        self,
        potential: Tensor,
        angular: int,
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Return the lowest eigenvalues of a radial Schroedinger operator, and its functions r R(r).

            -P'' / 2 + (l (l + 1) / (2 r^2) + V) P = e P

        Args:
            potential: V, as the matrix of `weigh_potential`, `(B, B)`.
            angular: l.
            count: of eigenvalues.

        Returns:
            Energies `(count,)` and normalised functions at the points `(count, E, Q)`.
        """
        matrix = self.kinetic + angular * (angular + 1) * self.centrifugal + potential
        energies, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        return energies[:count], self.evaluate_functions(vectors[:, :count])

    def evaluate_functions(self, vectors: Tensor) -> Tensor:
        """Return functions at the points, `(count, E, Q)`, from coefficients in the orthonormal basis `(B, count)`."""
        coefficients = torch.linalg.solve_triangular(self._factor.T, vectors, upper=True).T
        padded = torch.nn.functional.pad(coefficients, (1, 1))
        elements = padded.unfold(1, self.degree + 1, self.degree)
        return torch.einsum("qi,nei->neq", self._values, elements)

    def integrate_values(self, values: Tensor) -> Tensor:
        """Return the integral over all radii of values at the points, `(..., E, Q)`."""
        return (self.weights * values).sum((-2, -1))

    def accumulate_values(self, values: Tensor) -> Tensor:
        """Return the integral from 0 to every point of values at the points, `(E, Q)`."""
        charges = (self.weights * values).sum(-1, keepdim=True)
        within = self.halves * (values @ self._cumulative.T)
        return charges.cumsum(0) - charges + within

    def solve_poisson(self, radial_density: Tensor) -> Tensor:
        """Return the potential `(E, Q)` of the charge 4 pi r^2 n(r), `(E, Q)`, which ends where the mesh does."""
        outer = radial_density / self.points
        outside = self.integrate_values(outer) - self.accumulate_values(outer)
        return self.accumulate_values(radial_density) / self.points + outside

    def interpolate_values(self, values: Tensor, finer: RadialBasis) -> Tensor:
        """Return values at the points, `(E, Q)`, at those of a finer basis with the same elements, `(E, P)`."""
        count = self.points.shape[1]
        gauss = find_gauss_points(count)[0]
        places = find_gauss_points(finer.points.shape[1])[0]
        inverse = torch.linalg.inv(evaluate_legendre(gauss, count - 1)[0])
        interpolation: Tensor = evaluate_legendre(places, count - 1)[0] @ inverse
        return values @ interpolation.T

    def _assemble(self, weights: Tensor, functions: Tensor) -> Tensor:
        """Return the matrix of products of functions `(Q, degree + 1)` of every element, without both ends."""
        blocks = torch.einsum("eq,qi,qj->eij", weights, functions, functions)
        matrix = blocks.new_zeros(self.size + 2, self.size + 2)
        for element, block in enumerate(blocks):
            begin = element * self.degree
            span = slice(begin, begin + self.degree + 1)
            matrix[span, span] += block
        return matrix[1:-1, 1:-1]

    def _scale_matrix(self, matrix: Tensor) -> Tensor:
        """Return a symmetric matrix in the orthonormal basis."""
        left = torch.linalg.solve_triangular(self._factor, matrix, upper=False)
        scaled: Tensor = torch.linalg.solve_triangular(self._factor, left.T, upper=False)
        return scaled
