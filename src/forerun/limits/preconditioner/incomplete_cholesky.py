"""IncompleteCholesky: IC(0) and its modified form, as the limit of a map that updates all entries at once.

    L_ij = (S_ij - sum_{k<j} L_ik L_jk) / L_jj,    L_ii^2 = 1 - sum_k L_ik^2 [- share * what was left out of row i]

Every entry follows from earlier ones, so that sweeps over all of them together (Chow and Patel, SIAM J. Sci. Comput.
37, 2015) end at the factor, to the last digit, after as many as there are levels. The modified form (Gustafsson, BIT
18, 1978) adds the fill that has no place to the diagonal, and keeps what constant vectors come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.tolerance import Absolute, largest_element
from forerun.limits.preconditioner.lower_pattern import LowerPattern
from forerun.limits.preconditioner.triangular_factor import TriangularFactor

LEAST_PIVOT = 1e-12  # of a diagonal of ones, below which a factor has broken down
EXACT = 1e-14  # of a diagonal of ones, the change of an entry at the end


@final
@dataclass(frozen=True)
class IncompleteCholeskyMap(Map):
    """The entries of an incomplete factor to those that they make of the matrix.

    Attributes:
        pattern: of the matrix.
        products: int64 `(3, P)`: two entries in one column whose product belongs to the third.
        fill: int64 `(4, Q)`: two entries whose product has no place, and their rows.
        share: of the fill that goes to the diagonal.
        shift: added to the diagonal of ones.
    """

    pattern: LowerPattern
    products: Tensor
    fill: Tensor
    share: float
    shift: float

    def evaluate(self, state: Tree) -> Tree:
        entries, pivots = state["entries"], state["pivots"]
        first, second, target = self.products
        sums = torch.zeros_like(entries).index_add(0, target, entries[first] * entries[second])
        diagonal = pivots.clamp_min(LEAST_PIVOT).sqrt()
        updated = (self.pattern.entries - sums) / diagonal[self.pattern.columns]
        lost = 1 + self.shift - self.pattern.sum_rows(entries.square())
        if self.share:
            first, second, row, column = self.fill
            products = -self.share * entries[first] * entries[second]
            ratio = self.pattern.scales[column] / self.pattern.scales[row]  # constant vectors are D 1 here
            lost = lost.index_add(0, row, products * ratio).index_add(0, column, products / ratio)
        return {"entries": updated, "pivots": lost}


def factorise_incompletely(
    pattern: LowerPattern, *, share: float = 0.0, shift: float = 0.0, sweeps: int | None = None
) -> TriangularFactor:
    """Return IC(0), or its modified form, of a matrix.

    Args:
        pattern: of the matrix, `LowerPattern.from_matrix(A)`.
        share: of the fill that goes to the diagonal; 0 is IC(0), 1 the modified form, which is for M-matrices.
        shift: added to the diagonal, as a share of it, where the factor breaks down without.
        sweeps: of Jacobi for the triangular solves; None solves exactly.

    Raises:
        ValueError: the factor breaks down: a pivot is not positive.
    """
    products, fill = _pair_entries(pattern)
    user_map = IncompleteCholeskyMap(pattern, products, fill, share, shift)
    state = {"entries": pattern.entries, "pivots": torch.ones_like(pattern.scales)}
    limit = fixed_point(
        user_map,
        state,
        method=Plain(),
        tolerance=Absolute(EXACT, size=largest_element),
        max_evaluations=pattern.size + 2,
        repeatable=False,
        throw=False,
    )
    pivots: Tensor = limit.state["pivots"]
    if not float(pivots.min()) > LEAST_PIVOT:
        place = int(pivots.argmin())
        raise ValueError(
            f"the incomplete factor breaks down at row {place}, with a pivot of {float(pivots[place]):.3g}; pass "
            "shift=0.01 or more, or share=0.0 where it is 1"
        )
    return TriangularFactor(pattern, pivots.sqrt(), limit.state["entries"], sweeps)


def _pair_entries(pattern: LowerPattern) -> tuple[Tensor, Tensor]:
    """Return pairs of entries in one column: those whose product has a place, and the others with their rows."""
    order = torch.argsort(pattern.columns, stable=True)
    columns = pattern.columns[order]
    firsts, seconds = [], []
    counts = torch.bincount(columns, minlength=1)
    for gap in range(1, int(counts.max()) if len(columns) else 0):
        is_pair = columns[gap:] == columns[:-gap]
        firsts.append(order[gap:][is_pair])
        seconds.append(order[:-gap][is_pair])
    nothing = columns.new_zeros(0)
    first, second = torch.cat([nothing, *firsts]), torch.cat([nothing, *seconds])
    # rows of a column ascend, so that the first lies below the second
    keys = pattern.rows * pattern.size + pattern.columns
    wanted = pattern.rows[first] * pattern.size + pattern.rows[second]
    places = torch.searchsorted(keys, wanted).clamp_max(max(len(keys) - 1, 0))
    has_place = keys[places] == wanted if len(keys) else wanted == -1
    products = torch.stack([first[has_place], second[has_place], places[has_place]])
    first, second = first[~has_place], second[~has_place]
    return products, torch.stack([first, second, pattern.rows[first], pattern.rows[second]])
