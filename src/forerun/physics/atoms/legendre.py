"""Legendre polynomials: their values, the points of Gauss and of Lobatto, and integrals of Lagrange functions."""

from __future__ import annotations

import torch
from torch import Tensor


def evaluate_legendre(places: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Return the values and slopes of all Legendre polynomials up to a degree at places, each `(P, degree + 1)`."""
    values = [torch.ones_like(places), places]
    slopes = [torch.zeros_like(places), torch.ones_like(places)]
    for order in range(1, degree):
        doubled = (2 * order + 1) * values[-1]
        slopes.append(doubled + slopes[-2])
        upper = doubled * places - order * values[-2]
        values.append(upper / (order + 1))
    count = degree + 1
    return torch.stack(values[:count], -1), torch.stack(slopes[:count], -1)


def find_gauss_points(count: int) -> tuple[Tensor, Tensor]:
    """Return the points and weights of Gauss on [-1, 1], `(count,)`, float64 (Golub & Welsch, 1969)."""
    orders = torch.arange(1, count, dtype=torch.float64)
    points = _diagonalise_recurrence(orders / (4 * orders**2 - 1).sqrt())
    slopes = evaluate_legendre(points, count)[1][:, count]
    return points, 2 / ((1 - points**2) * slopes**2)


def find_lobatto_points(degree: int) -> Tensor:
    """Return both ends of [-1, 1] and the places between where the Legendre polynomial has no slope, float64."""
    orders = torch.arange(1, degree - 1, dtype=torch.float64)
    squares = orders * (orders + 2)
    squares /= (2 * orders + 1) * (2 * orders + 3)
    inner = _diagonalise_recurrence(squares.sqrt())
    ends = torch.ones(1, dtype=torch.float64)
    return torch.cat([-ends, inner, ends])


def integrate_basis(points: Tensor, weights: Tensor) -> Tensor:
    """Return the integrals from -1 to every point of the Lagrange functions on Gauss points, `(count, count)`."""
    count = len(points)
    values = evaluate_legendre(points, count)[0]
    degrees = torch.arange(count, dtype=points.dtype)
    shifted = torch.cat([-torch.ones_like(values[:, :1]), values[:, : count - 1]], -1)
    integrals = (values[:, 1:] - shifted) / (2 * degrees + 1)
    expansion = (2 * degrees.unsqueeze(-1) + 1) / 2 * weights * values[:, :count].T
    return integrals @ expansion


def _diagonalise_recurrence(coefficients: Tensor) -> Tensor:
    """Return the roots of a symmetric family of polynomials from the coefficients of its recurrence, in order."""
    matrix = torch.diag(coefficients, 1) + torch.diag(coefficients, -1)
    roots: Tensor = torch.linalg.eigvalsh(matrix)
    return roots
