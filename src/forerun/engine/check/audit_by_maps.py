"""The audit of steps with a closed form: distances in rows, whose growth is held to what was measured.

    d_{i+1} = a d_i + b (f(x_i) - o_i) + e_i + b J d_i

with `e` the rounding in which the accepted row differs from the step's own arithmetic. What a Jacobian says of
directions in which nothing was measured may be far off: the distance there grows no less than along the shift that was
measured, and no more than `GROWTH_MARGIN` times that.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import ParallelSteps
from forerun.engine.check.audited_steps import AuditedSteps, row_norms
from forerun.engine.rows import AffineMaps

GROWTH_MARGIN: Final = 3.0  # times the growth along the shift, that a distance in other directions may grow
LEAST_CARRIED: Final = 1e-2  # of a distance, that is left of its direction after a step


def walk_by_maps(
    audited: AuditedSteps,
    maps: AffineMaps,
    distance: Tensor,
) -> Tensor:
    """Return the distances `(n + 1, *batch, D)` before each step and after the last, from that before the first."""
    steps = audited.steps
    sources = maps.output_factors * (audited.outputs - steps.outputs) + measure_rounding_defects(maps, steps)
    sizes = row_norms(steps.inputs)
    growth = _measure_growth(audited, maps)
    distances = [distance]
    for index, jacobian in enumerate(steps.jacobian.split_steps()):
        change = jacobian.multiply_moves(distance.unsqueeze(0))[0]
        change = audited.correct_change(index, distance, change)
        carried = torch.addcmul(maps.state_factors[index] * distance, maps.output_factors[index], change)
        if audited.slopes is not None:
            distance = carried + sources[index]
        elif growth is None or audited.shifts is None:
            carried = _keep_direction(carried, distance)
            distance = _shorten_rows(carried + sources[index], sizes[index])
        else:
            carried = _keep_direction(carried, distance)
            carried = _hold_growth(
                carried, distance, audited.shifts[index], growth[index], is_cautious=audited.is_cautious
            )
            distance = carried + sources[index]
        distances.append(distance)
    return torch.stack(distances)


def measure_rounding_defects(maps: AffineMaps, steps: ParallelSteps) -> Tensor:
    """Return by how much the accepted rows differ from what the closed form gives, step by step, `(n, *batch, D)`."""
    next_inputs = torch.cat([steps.inputs[1:], steps.end_input.unsqueeze(0)])
    return maps.advance_rows(steps.inputs, steps.outputs) - next_inputs


def _measure_growth(audited: AuditedSteps, maps: AffineMaps) -> Tensor | None:
    """Return by how much each step lengthens its shift, `(n, *batch, 1)`: infinite where nothing was measured."""
    if audited.shifts is None or audited.changes is None:
        return None
    smallest = torch.finfo(audited.shifts.dtype).tiny
    sizes = row_norms(audited.shifts)
    end_sizes = row_norms(maps.state_factors * audited.shifts + maps.output_factors * audited.changes)
    return torch.where(sizes > smallest, end_sizes / sizes.clamp_min(smallest), torch.inf)


def _hold_growth(
    carried: Tensor,
    distance: Tensor,
    shift: Tensor,
    growth: Tensor,
    *,
    is_cautious: bool,
) -> Tensor:
    """Return a distance carried over a step, no shorter and no longer than the growth along the shift allows.

    Args:
        carried: the distance after the step, `(*batch, D)`.
        distance: before it.
        shift: along which the growth was measured.
        growth: `(*batch, 1)`, infinite where it was not.
        is_cautious: all of the distance is taken to grow as much, not what lies across the shift alone.
    """
    smallest = torch.finfo(carried.dtype).tiny
    size, shift_size, carried_size = row_norms(distance), row_norms(shift), row_norms(carried)
    product = (distance * shift).sum(-1, keepdim=True).abs()
    cosine = (product / (size * shift_size).clamp_min(smallest)).clamp_max(1.0)
    sine = (1 - cosine.square()).sqrt()
    lower_bound = growth * size
    if not is_cautious:
        lower_bound = sine * lower_bound
    upper_bound = (cosine + GROWTH_MARGIN * sine) * growth * size
    length = torch.minimum(torch.maximum(carried_size, lower_bound), upper_bound)
    is_measured = growth.isfinite() & (carried_size > smallest) & carried_size.isfinite()
    return torch.where(is_measured, carried * (length / carried_size.clamp_min(smallest)), carried)


def _keep_direction(carried: Tensor, distance: Tensor) -> Tensor:
    """Return distances carried over a step, along those before it where a Jacobian of zero leaves nothing of them."""
    size = row_norms(distance)
    return torch.where(row_norms(carried) < LEAST_CARRIED * size, LEAST_CARRIED * distance, carried)


def _shorten_rows(rows: Tensor, sizes: Tensor) -> Tensor:
    """Return rows no longer than these sizes, where only their directions matter."""
    factors = sizes / row_norms(rows).clamp_min(torch.finfo(rows.dtype).tiny)
    return (rows * factors.clamp_max(1.0)).nan_to_num(0.0, 0.0, 0.0)
