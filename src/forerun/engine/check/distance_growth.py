"""How a distance from the accepted path grows along it, by its closed form.

    d_{i+1} = (a_i + b_i J_i) d_i + b_i r_i

with `a`, `b` of the closed form, the Jacobian `J_i` and the defect `r_i` of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.numerics.native import walks as native_walks
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.rows import AffineMaps

IN_ORDER_STEPS: Final = 256  # up to which following in order costs no more than it is worth
CORRECTING_SCANS: Final = 2  # after the first, over more steps, to let their Jacobians act in full


def grow_distances(
    maps: AffineMaps,
    jacobian: Jacobian,
    defects: Tensor,
    distance: Tensor,
) -> Tensor:
    """Return the distances `(n, *batch, D)` after each step, from that before the first."""
    sources = maps.output_factors * defects
    if jacobian.has_dense_base:
        return _grow_by_matrices(maps, jacobian, sources, distance)
    distances = _grow_natively(maps, jacobian, sources, distance)
    if distances is not None:
        return distances
    if jacobian.rank == 0:
        propagators = maps.compute_propagators(jacobian.base)
        return affine_scan(propagators, sources, distance, differentiable=False)
    if len(maps) <= IN_ORDER_STEPS:
        return _grow_in_order(maps, jacobian, sources, distance)
    return _grow_by_scans(maps, jacobian, sources, distance)


def _grow_by_matrices(
    maps: AffineMaps,
    jacobian: Jacobian,
    sources: Tensor,
    distance: Tensor,
) -> Tensor:
    """Grow by one scan, with the Jacobians written out, where their base is a matrix already."""
    assert jacobian.base is not None, "a dense Jacobian has a base"
    matrices = jacobian.base + jacobian.left.mT @ jacobian.right
    propagators = maps.compute_propagators(matrices)
    return affine_scan(propagators, sources, distance, differentiable=False)


def _grow_natively(
    maps: AffineMaps,
    jacobian: Jacobian,
    sources: Tensor,
    distance: Tensor,
) -> Tensor | None:
    """Grow step by step as `_grow_in_order` does, by a native kernel; None where torch shall."""
    propagators = maps.compute_propagators(jacobian.base)
    return native_walks.grow_distances(
        propagators.expand(*sources.shape[:-1], propagators.shape[-1]),
        maps.output_factors.unsqueeze(-1) * jacobian.left,
        jacobian.right,
        sources=sources,
        first=distance,
    )


def _grow_in_order(
    maps: AffineMaps,
    jacobian: Jacobian,
    sources: Tensor,
    distance: Tensor,
) -> Tensor:
    """Grow step by step, each step two products with the few directions that its Jacobian adds to its base."""
    left = (maps.output_factors.unsqueeze(-1) * jacobian.left).mT
    steps = zip(
        _flatten_samples(maps.compute_propagators(jacobian.base).unsqueeze(-1)),
        _flatten_samples(left),
        _flatten_samples(jacobian.right),
        _flatten_samples(sources.unsqueeze(-1)),
        strict=True,
    )
    column = distance.reshape(-1, distance.shape[-1], 1)
    columns = []
    for propagator, step_left, step_right, source in steps:
        from_base = torch.addcmul(source, propagator, column)
        column = torch.baddbmm(from_base, step_left, torch.bmm(step_right, column))
        columns.append(column)
    return torch.stack(columns).reshape(sources.shape)


def _flatten_samples(matrices: Tensor) -> Sequence[Tensor]:
    """Return matrices `(n, *batch, K, D)` as one tensor `(samples, K, D)` a step."""
    return matrices.reshape(matrices.shape[0], -1, *matrices.shape[-2:]).unbind()


def _grow_by_scans(
    maps: AffineMaps,
    jacobian: Jacobian,
    sources: Tensor,
    distance: Tensor,
) -> Tensor:
    """Grow by scans with the base alone: what it leaves out follows the distances of the scan before."""
    propagators = maps.compute_propagators(jacobian.base)
    distances = affine_scan(propagators, sources, distance, differentiable=False)
    for _ in range(CORRECTING_SCANS):
        before_steps = torch.cat([distance.unsqueeze(0), distances[:-1]])
        low_rank = jacobian.multiply_low_rank(before_steps)
        corrected_sources = torch.addcmul(sources, maps.output_factors, low_rank)
        distances = affine_scan(propagators, corrected_sources, distance, differentiable=False)
    return distances
