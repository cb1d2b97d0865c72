"""AlphaTest: Smale's test, by which one point proves that Newton's method converges from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge
from forerun.engine.numerics.tree import Tree

ALPHA_THRESHOLD = (13 - 3 * sqrt(17)) / 4  # 0.1577: below it, a root lies within twice the Newton step

FAILED = "The alpha test does not hold: alpha is {:.4g}, and must be below {:.4g}; take a step more, or start nearer."


@dataclass(frozen=True)
class AlphaTest(Certificate):
    """Smale's alpha theory for maps that are Newton's own, `T(x) = x - F'(x)^-1 F(x)` (Blum et al., 1998, ch. 8).

        beta = |T(x) - x|,    alpha = beta gamma < 0.1577    =>    |x - x*| <= 2 beta, |T(x) - x*| <= beta

    with `gamma >= sup_k |F'(x)^-1 F^(k)(x) / k!|^(1 / (k - 1))`. It is proven as far as gamma and beta are: they are
    computed in floating point here, in the Euclidean norm. Certified roots in ball arithmetic are a field's.

    Args:
        gamma: takes a state and returns a bound of gamma, `(*batch,)`.
    """

    gamma: Callable[[Tree], Tensor]

    def follow(self, evidence: Evidence) -> Knowledge:
        return Knowledge()

    def conclude(self, evidence: Evidence) -> Knowledge:
        beta = torch.linalg.vector_norm(evidence.values - evidence.points, dim=-1)
        gamma = evidence.rows.measure_states(self.gamma, evidence.points, evidence.problems)
        alpha = beta * gamma
        is_proven = alpha < ALPHA_THRESHOLD
        notes: tuple[str, ...] = ()
        if not bool(is_proven.all()):
            notes = (FAILED.format(float(alpha.max()), ALPHA_THRESHOLD),)
        unit = torch.zeros_like(evidence.points)
        unit[:, :1] = 1
        # the largest size that a vector of Euclidean length one has in the norm of the tolerance
        bounds = beta * evidence.tools.measure(unit, evidence.points)
        return Knowledge(bounds=bounds, is_proven=is_proven, notes=notes)
