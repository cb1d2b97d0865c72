"""Spectral: the radius of the Jacobian at the limit, by the Arnoldi process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.numerics.krylov import KrylovSpace

REPELS = (
    "The limit does not attract the plain iteration: the spectral radius of the Jacobian there is about {:.4g}. It is "
    "a fixed point all the same."
)
UNKNOWN_DERIVATIVE = "Nothing is known of the spectrum of the Jacobian at the limit: {}"
NOT_A_NUMBER = "the derivatives there are not finite"
ATTRACTS = "The limit attracts the plain iteration: the spectral radius of the Jacobian there is about {:.4g}."


@dataclass(frozen=True)
class Spectral(Certificate):
    """The largest eigenvalues of the Jacobian at the limit, whether it attracts, and an error bound that they give.

    The Arnoldi process on derivatives along directions; its Ritz values lie inside the field of values, so that the
    radius is an estimate from below until the space is complete. The bound is `|T(x) - x| |(I - H)^-1|` on that space,
    with the start in the direction of the residual: an estimate. Each direction counts as an evaluation.

    Args:
        directions: dimension of the space.
    """

    directions: int = 20

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise ValueError(f"Spectral(directions={self.directions}) looks at nothing; pass 1 or more")

    def follow(self, evidence: Evidence) -> Knowledge:
        return Knowledge()

    def conclude(self, evidence: Evidence) -> Knowledge:
        try:
            radius, gain = measure_spectrum(evidence, self.directions)
        except ValueError as error:  # what was searched for is there all the same
            return Knowledge(notes=(UNKNOWN_DERIVATIVE.format(error),))
        largest = float(radius.amax())
        note = ATTRACTS.format(largest) if largest < 1 else REPELS.format(largest)
        if not largest < float("inf"):
            note = UNKNOWN_DERIVATIVE.format(NOT_A_NUMBER)
        return Knowledge(bounds=evidence.sizes * gain, notes=(note,))


def measure_spectrum(evidence: Evidence, directions: int) -> tuple[Tensor, Tensor]:
    """Return the spectral radius of the Jacobian, `(A,)`, and the norm of `(I - J)^-1` on a Krylov space, `(A,)`.

    Both are nan where derivatives are not finite.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(evidence.points.shape, generator=generator, dtype=evidence.points.dtype)
    space = KrylovSpace.begin(start.to(evidence.points.device))
    count = min(directions, evidence.points.shape[-1])
    for _ in range(count):
        space = space.extend(lambda rows: evidence.tools.apply_jacobian(evidence.points, rows))
    square = space.hessenberg[:, :-1]
    if not count:  # a state without elements
        return torch.zeros_like(evidence.sizes), torch.ones_like(evidence.sizes)
    is_finite = square.isfinite().all(-1).all(-1)
    square = torch.where(is_finite[:, None, None], square, 0.0)
    radius = torch.linalg.eigvals(square).abs().amax(-1)
    eye = torch.eye(count, dtype=square.dtype, device=square.device)
    smallest = torch.linalg.svdvals(eye - square).amin(-1)
    return radius.masked_fill(~is_finite, float("nan")), (1 / smallest).masked_fill(~is_finite, float("nan"))
