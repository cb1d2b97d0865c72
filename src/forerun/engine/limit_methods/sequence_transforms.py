"""Transforms of sequences: from the first terms of a sequence to its limit.

They are for sequences of any origin, such as the partial sums of a series; `Cycled` makes a method of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor


class SequenceTransform(ABC):
    """A guess of where a sequence ends, from its terms."""

    @abstractmethod
    def extrapolate(self, terms: Tensor) -> Tensor:
        """Return the limits `(*shape,)` of sequences `(n, *shape)`; the last term where nothing better is known."""


@dataclass(frozen=True)
class Aitken(SequenceTransform):
    """Aitken's process, element by element, on the last three terms; exact for one geometric mode.

    x = s_n - (ds_n)^2 / d2s_n
    """

    def extrapolate(self, terms: Tensor) -> Tensor:
        if len(terms) < 3:
            return terms[-1]
        last = terms[-1] - terms[-2]
        curvature = last - (terms[-2] - terms[-3])
        return _prefer_finite(terms[-1] - last**2 / curvature, terms[-1])


@dataclass(frozen=True)
class Shanks(SequenceTransform):
    """The Shanks transform of vectors, by Wynn's epsilon algorithm (Math. Comp. 16, 1962); exact for `n // 2` modes.

        e_{k+1}^(j) = e_{k-1}^(j+1) + 1 / (e_k^(j+1) - e_k^(j)),    1 / v = v / |v|^2

    Args:
        elementwise: take every element for a sequence by itself; otherwise the last axis is a vector.
    """

    elementwise: bool = False

    def extrapolate(self, terms: Tensor) -> Tensor:
        last_row = torch.zeros_like(terms)
        row = terms
        best = terms[-1]
        for order in range(1, len(terms)):
            step = row[1:] - row[:-1]
            row, last_row = last_row[1 : len(step) + 1] + self._invert(step), row
            if order % 2 == 0:  # the odd rows are only on the way
                best = _prefer_finite(row[-1], best)
        return best

    def _invert(self, vectors: Tensor) -> Tensor:
        if self.elementwise or vectors.dim() == 1:
            return 1 / vectors
        return vectors / (vectors**2).sum(-1, keepdim=True)


@dataclass(frozen=True)
class Levin(SequenceTransform):
    """Levin's u-transform, element by element (Int. J. Comput. Math. B3, 1973).

        x = sum_j (-1)^j C(k, j) (j + 1)^(k-2) s_j / ds_j  /  the same sum with 1 in place of s_j

    with `ds_j` the last move of the term `j`: for logarithmic convergence and for alternating series, where the other
    transforms gain little.
    """

    def extrapolate(self, terms: Tensor) -> Tensor:
        count = len(terms) - 2
        if count < 1:
            return terms[-1]
        moves = terms[1:] - terms[:-1]
        numerator, denominator = torch.zeros_like(terms[0]), torch.zeros_like(terms[0])
        for j in range(count + 1):
            factor = (-1) ** j * comb(count, j) * ((j + 1) / (count + 1)) ** (count - 1)
            weight = factor / ((j + 1) * moves[j])
            numerator = numerator + weight * terms[j + 1]
            denominator = denominator + weight
        return _prefer_finite(numerator / denominator, terms[-1])


def _prefer_finite(extrapolated: Tensor, plain: Tensor) -> Tensor:
    """Return what was extrapolated where it is finite, and the plain values elsewhere."""
    return torch.where(extrapolated.isfinite(), extrapolated, plain)
