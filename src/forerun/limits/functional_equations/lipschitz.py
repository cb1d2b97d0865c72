"""The contraction constant of a functional equation in the Lipschitz norm, exactly at every point of a grid.

For a difference `h` of two functions, zero wherever `f` is fixed, with the Lipschitz constant 1,

    (T h)'(x) = sum_k w_k(x) phi_k'(x) h'(phi_k(x)) + sum_k w_k'(x) h(phi_k(x))

The first sum is at most `sum_k |w_k phi_k'|`. The second is the integral of `h` over a signed measure of masses `w_k'`
at `phi_k(x)`: by Kantorovich's duality its largest value is the cost of moving the masses onto each other and to the
fixed points, which on a line has a closed form.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from forerun.limits.functional_equations.equation import FunctionalEquation, differentiate_elements


def measure_lipschitz_rates(
    equation: FunctionalEquation,
    x: Tensor,
    interval: tuple[float, float],
) -> Tensor:
    """Return the largest `|(T h)'|` at points `(N,)`, over all `h` of Lipschitz constant 1; inf without a bound of `h`.

    The largest of these over all points is the contraction constant in the Lipschitz norm.
    """
    weights = equation.measure_weights(x)
    places = equation.measure_arguments(x, interval)
    slopes = torch.stack([differentiate_elements(argument, x) for argument in equation.arguments])
    masses = torch.stack([differentiate_elements(weight, x) for weight in equation.weights])
    rates = (weights * slopes).abs().sum(0) + price_transport(
        masses,
        places,
        equation.fixed_points,
    )
    return torch.where(rates.isfinite(), rates, torch.inf)  # a root has no slope at zero


def price_transport(
    masses: Tensor,
    places: Tensor,
    fixed_points: list[float],
) -> Tensor:
    """Return the largest `sum_k m_k h(t_k)`, `(N,)`, over `h` of Lipschitz constant 1 that vanish at fixed points.

    Args:
        masses: `m_k`, `(K, N)`.
        places: `t_k`, `(K, N)`.
        fixed_points: in order; without any, masses that do not sum to zero cost inf.
    """
    order = places.argsort(0)
    places, masses = places.gather(0, order), masses.gather(0, order)
    if not fixed_points:
        total = masses.sum(0)
        cost = (masses.cumsum(0)[:-1].abs() * places.diff(dim=0)).sum(0)
        is_balanced = total.abs() <= 1e-9 * masses.abs().sum(0).clamp_min(1.0)
        return torch.where(is_balanced, cost, torch.inf)
    cost = _price_outside(masses, places, fixed_points[-1])
    cost = cost + _price_outside(
        masses.flip(0),
        -places.flip(0),
        -fixed_points[0],
    )
    for ends in pairwise(fixed_points):
        cost = cost + _price_between(masses, places, ends)
    return cost


def _price_outside(
    masses: Tensor,
    places: Tensor,
    last: float,
) -> Tensor:
    """Return the cost of moving all masses to the right of the last fixed point there: `int |mass to the right|`."""
    outside = torch.where(places > last, masses, 0.0)
    marks = torch.cat([torch.full_like(places[:1], last), places.clamp_min(last)])
    tails = outside.flip(0).cumsum(0).flip(0)
    return (tails.abs() * marks.diff(dim=0)).sum(0)


def _price_between(
    masses: Tensor,
    places: Tensor,
    ends: tuple[float, float],
) -> Tensor:
    """Return `min_c int |F - c|` between two fixed points, where `F` is the mass to the left: `(N,)`."""
    low, high = ends
    is_inside = (places > low) & (places < high)
    inside = torch.where(is_inside, masses, 0.0)
    marks = torch.cat([torch.full_like(places[:1], low), places.clamp(low, high), torch.full_like(places[:1], high)])
    lengths = marks.diff(dim=0)
    heights = torch.cat([torch.zeros_like(inside[:1]), inside.cumsum(0)])
    # the weighted median of the heights is one of them
    costs = ((heights.unsqueeze(0) - heights.unsqueeze(1)).abs() * lengths).sum(1)
    return costs.amin(0)
