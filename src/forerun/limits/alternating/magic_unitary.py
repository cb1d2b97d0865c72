"""magic_unitary: rows and columns made orthonormal in turn, as Sinkhorn's algorithm makes them sum to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import AndersonMixing
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.engine.tolerance import Absolute, largest_element
from forerun.limits.alternating.flat_model import FlatModel

MAGIC_DEFAULTS = LimitOptions(
    method=AndersonMixing(10), tolerance=Absolute(1e-12, size=largest_element), max_evaluations=20_000
)
LARGEST_DEFECT = 1e-6  # of a square that counts as magic


class NotMagic(ValueError):
    """Raised where alternation stands still although rows and columns are not both orthonormal; `.model` has where."""

    def __init__(self, model: FlatModel) -> None:
        super().__init__(
            f"alternation stands still where rows miss being orthonormal by {model.defect:.2g}: a stationary point "
            "that is not magic; pass another generator or first=..., or method=Plain(), which seldom ends there"
        )
        self.model = model


@final
@dataclass(frozen=True)
class AlternatingPolarMap(Map):
    """Every row replaced by the nearest orthonormal basis, then every column; complex numbers as pairs `(N, N, N, 2)`.

    The sets are not convex, and the map has fixed points that are not magic. Plain steps leave them; mixed ones can end
    there, unless those that raise the merit are taken back.
    """

    def evaluate(self, state: Tree) -> Tree:
        vectors = torch.view_as_complex(state.contiguous())
        vectors = take_polar_factor(vectors)
        vectors = take_polar_factor(vectors.transpose(0, 1)).transpose(0, 1)
        return torch.view_as_real(vectors.contiguous())

    def merit(self, state: Tree) -> Tensor:
        """Return the squared distance from orthonormal rows, half of it; alternation never lets it rise."""
        vectors = torch.view_as_complex(state.contiguous())
        distance: Tensor = (vectors - take_polar_factor(vectors)).abs().square().sum()
        return distance


def take_polar_factor(matrices: Tensor) -> Tensor:
    """Return the nearest unitary matrices, `(..., N, N)`."""
    left, _, right = torch.linalg.svd(matrices)
    factor: Tensor = left @ right
    return factor


def magic_unitary(
    n: int,
    *,
    first: Tensor | None = None,
    generator: torch.Generator | None = None,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> FlatModel:
    """Return an `n x n` square of vectors of which every row and column is an orthonormal basis.

    The limit depends on the first vectors: random ones give a point of the universal flat model.

    Args:
        n: size of the square, and of the vectors.
        first: complex `(n, n, n)`; random ones where it is left out.
        generator: of the random numbers.
        options: how the limit is searched.
        throw: raise where no limit was reached, rather than return what there is.
        keywords: the options one by one.

    Raises:
        ValueError: n is not positive, or the first vectors are of another shape or not finite.
        NoLimit: the alternation did not end in the evaluations allowed, and `throw`.
        NotMagic: it ended at a stationary point that is not magic, and `throw`.
    """
    if n < 1:
        raise ValueError(f"magic_unitary({n}) has no rows; pass 1 or more")
    if first is None:
        first = torch.randn(
            n,
            n,
            n,
            dtype=torch.complex128,
            generator=generator,
        )
    if first.shape != (n, n, n) or not bool(first.isfinite().all()):
        raise ValueError(f"first must hold finite vectors, ({n}, {n}, {n}), got {list(first.shape)}; leave it out")
    start = torch.view_as_real(first.to(torch.complex128))
    settings = LimitOptions.gather(options, keywords).over(MAGIC_DEFAULTS)
    limit = fixed_point(
        AlternatingPolarMap(),
        start,
        options=settings,
        throw=throw,
    )
    model = FlatModel(torch.view_as_complex(limit.state.contiguous()), limit)
    if throw and limit.status.done and not model.defect <= LARGEST_DEFECT:
        raise NotMagic(model)
    return model
