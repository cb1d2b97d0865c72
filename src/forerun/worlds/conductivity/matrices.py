"""Diffusion through a medium of uneven conductivity: the five-point matrices of `-div(k grad u)` on a square."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def draw_diffusion_matrix(seed: int, *, size: int = 32, contrast: float = 1.0) -> Any:
    """Return the sparse matrix of a square with `size` points a side, whose edge is held at zero.

    Conductivities are log-normal and independent from point to point, and harmonic means between points.

    Args:
        seed: of the conductivities.
        size: points along a side.
        contrast: standard deviation of the logarithm of the conductivity.

    Raises:
        ValueError: there is no point.
    """
    import numpy as np
    import scipy.sparse

    if size < 1:
        raise ValueError(f"size={size} has no points; pass 1 or more")
    logarithms = contrast * np.random.default_rng(seed).standard_normal((size + 2, size + 2))
    conductivity = np.exp(logarithms)
    across = average_harmonically(conductivity[1:-1, :-1], conductivity[1:-1, 1:])
    down = average_harmonically(conductivity[:-1, 1:-1], conductivity[1:, 1:-1])
    diagonal = across[:, :-1] + across[:, 1:] + down[:-1] + down[1:]
    places = np.arange(size * size).reshape(size, size)
    rows = np.concatenate([places[:, :-1].ravel(), places[:-1].ravel()])
    columns = np.concatenate([places[:, 1:].ravel(), places[1:].ravel()])
    weights = np.concatenate([across[:, 1:-1].ravel(), down[1:-1].ravel()])
    upper = scipy.sparse.coo_array((-weights, (rows, columns)), shape=(size * size, size * size))
    return (upper + upper.T + scipy.sparse.diags_array(diagonal.ravel())).tocsr()


def average_harmonically(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the harmonic means of two arrays, element by element."""
    mean: np.ndarray = 2 * one * other / (one + other)
    return mean
