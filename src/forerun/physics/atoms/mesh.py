"""RadialMesh: elements between the nucleus and a last radius, longer and longer, and the degree on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RadialMesh:
    """An exponential mesh of few elements of high degree (Certik et al., arXiv 2307.05856).

        r_i = r_max (e^{beta i} - 1) / (e^{beta N} - 1),    beta = ln(ratio) / (N - 1)

    Args:
        elements: their number, N.
        degree: of the polynomials on each.
        radius: the last one, in Bohr radii; wave functions are zero there.
        ratio: of the length of the last element to that of the first; 1 for a uniform mesh.

    Raises:
        ValueError: no element, a degree below 2, or a radius or ratio that is not positive and finite.
    """

    elements: int = 4
    degree: int = 26
    radius: float = 50.0
    ratio: float = 200.0

    def __post_init__(self) -> None:
        if self.elements < 1 or self.degree < 2:
            raise ValueError(
                f"a mesh needs an element and the degree 2 at least, got elements={self.elements}, "
                f"degree={self.degree}; pass RadialMesh(elements=4, degree=26)"
            )
        for name in ("radius", "ratio"):
            size = getattr(self, name)
            if not 0 < size < math.inf:
                raise ValueError(f"{name}={size} must be positive and finite; pass RadialMesh(radius=50.0, ratio=200)")

    @property
    def edges(self) -> Tensor:
        """The ends of the elements, `(elements + 1,)`, float64, from 0 on."""
        steps = torch.arange(self.elements + 1, dtype=torch.float64)
        if self.elements == 1 or self.ratio == 1:
            return self.radius * steps / self.elements
        growth = math.log(self.ratio) / (self.elements - 1)
        return self.radius * torch.expm1(growth * steps) / math.expm1(growth * self.elements)
