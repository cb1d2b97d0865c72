"""FlatModel: a square of vectors whose rows and columns are orthonormal bases, a magic unitary of projections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.search import Limit

FIXED_ROUNDINGS = 1e7  # of a singular value, below which a vector counts as fixed
MAX_WORDS = 5000  # rows of the matrix of a moment


@dataclass(frozen=True)
class FlatModel:
    """A model of the free symmetric group `S_N^+` by projections of rank one (Banica and Nechita, arXiv 1602.04456).

    Attributes:
        vectors: complex128 `(N, N, N)`: `vectors[i, j]` spans the projection `P_ij`.
        limit: how it was found; None for one in closed form.
    """

    vectors: Tensor
    limit: Limit | None = None

    @property
    def value(self) -> Tensor:
        """The projections, `(N, N, N, N)`."""
        return self.projections

    @property
    def projections(self) -> Tensor:
        """`P_ij`, complex128 `(N, N, N, N)`."""
        return self.vectors.unsqueeze(-1) * self.vectors.conj().unsqueeze(-2)

    @property
    def defect(self) -> float:
        """By how much a row or a column misses being an orthonormal basis: the largest element of `gram - 1`."""
        eye = torch.eye(len(self.vectors), dtype=self.vectors.dtype)
        rows = self.vectors @ self.vectors.mH - eye
        columns = self.vectors.transpose(0, 1) @ self.vectors.transpose(0, 1).mH - eye
        return float(torch.stack([rows, columns]).abs().max())

    @property
    def commutator(self) -> float:
        """The largest norm of `P Q - Q P` over pairs: zero for the classical permutations alone."""
        flat = self.vectors.flatten(0, 1)
        overlaps = (flat @ flat.mH).abs()
        # two lines at an angle t commute up to |sin t cos t|
        return float((overlaps * (1 - overlaps.square()).clamp_min(0).sqrt()).max())


def make_pauli_model(unitary: Tensor) -> FlatModel:
    """Return the model of `N = m^2` from Weyl's matrices and a unitary: the vectors `W_i U W_j` of matrices.

    For `m = 2` it is the Pauli model of `S_4^+`; Weyl's matrices are those of the group `Z_m x Z_m` with its cocycle.

    Args:
        unitary: complex `(m, m)`.

    Raises:
        ValueError: it is not unitary.
    """
    size = len(unitary)
    unitary = unitary.to(torch.complex128)
    eye = torch.eye(size, dtype=torch.complex128)
    if unitary.shape != (size, size) or not torch.allclose(
        unitary @ unitary.mH,
        eye,
        atol=1e-9,
    ):
        raise ValueError("the matrix is not unitary; pass torch.linalg.qr(torch.randn(m, m, dtype=torch.complex128)).Q")
    shift = eye.roll(1, 0)
    turns = torch.arange(size, dtype=torch.float64) * (2 * torch.pi / size)
    clock = torch.diag(torch.polar(torch.ones_like(turns), turns))
    powers = [torch.linalg.matrix_power(shift, a) @ torch.linalg.matrix_power(clock, b)
              for a in range(size) for b in range(size)]  # fmt: skip
    weyl = torch.stack(powers)
    products = weyl.unsqueeze(1) @ unitary @ weyl.unsqueeze(0)
    return FlatModel(products.flatten(-2) / size**0.5)


def draw_unitary(size: int, generator: torch.Generator | None = None) -> Tensor:
    """Return a unitary complex128 `(m, m)`, uniformly distributed."""
    matrix = torch.randn(
        size,
        size,
        dtype=torch.complex128,
        generator=generator,
    )
    directions, heights = torch.linalg.qr(matrix)
    unitary: Tensor = directions * torch.sgn(heights.diagonal())
    return unitary


def count_moment(models: list[FlatModel], order: int) -> int:
    """Return a moment of the main character `sum_i u_ii` of the quantum group that models generate.

    The Haar state of the Hopf image is a Cesaro limit of convolution powers, so that the moment is the number of fixed
    vectors of `T_ij = tr(P_(i1 j1) ... P_(ip jp))`, averaged over the models (Banica, Franz and Skalski, 2012). The
    free symmetric group has Catalan's numbers 1, 2, 5, 14 from `N = 4` on, the classical one Bell's 1, 2, 5, 15.

    Raises:
        ValueError: there is no model, or the matrix would be too large.
    """
    if not models or order < 1:
        raise ValueError("pass one model or more, and an order of 1 or more")
    count = len(models[0].vectors)
    if count**order > MAX_WORDS:
        raise ValueError(
            f"the moment {order} of {count} x {count} needs a matrix of {count**order} rows; ask for a lower one"
        )
    total = torch.zeros(
        count**order,
        count**order,
        dtype=torch.complex128,
    )
    for model in models:
        total += trace_words(model, order)
    heights = torch.linalg.svdvals(total / len(models) - torch.eye(len(total)))
    return int((heights <= FIXED_ROUNDINGS * torch.finfo(torch.float64).eps).sum())


def trace_words(model: FlatModel, order: int) -> Tensor:
    """Return the normalised traces of words of projections, `(N^p, N^p)`."""
    count = len(model.vectors)
    projections = model.projections
    words = projections.flatten(0, 1)
    for _ in range(order - 2):
        words = (words.unsqueeze(1) @ projections.flatten(0, 1)).flatten(0, 1)
    if order == 1:
        traces = words.diagonal(dim1=-2, dim2=-1).sum(-1)
    else:
        traces = torch.einsum(
            "wab,vba->wv",
            words,
            projections.flatten(0, 1),
        )
    letters = traces.reshape([count] * (2 * order)) / count
    first, second = (
        list(range(0, 2 * order, 2)),
        list(
            range(
                1,
                2 * order,
                2,
            )
        ),
    )
    return letters.permute(*first, *second).reshape(count**order, count**order)
