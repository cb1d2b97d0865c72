"""How contractive an operator is in a divergence, and how fast an averaged iteration falls."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.limits.bregman.iteration import Operator
from forerun.limits.bregman.potentials import Potential


def measure_contraction(
    operator: Operator,
    potential: Potential,
    points: Tensor,
) -> float:
    """Return the largest `D(T(x), T(y)) / D(x, y)` over all pairs of points: a lower bound of the contraction constant.

    Args:
        operator: `T`.
        potential: of the divergence.
        points: `(N, ..., D)`, two or more that differ.
    """
    images = torch.stack([operator(point) for point in points])
    first, second = torch.triu_indices(len(points), len(points), 1)
    ratios = []
    for left, right in ((first, second), (second, first)):
        before = potential.measure_divergence(points[left], points[right])
        after = potential.measure_divergence(images[left], images[right])
        ratios.append((after / before)[before > 0])
    largest = torch.cat(ratios)
    if not len(largest):
        raise ValueError("all points are the same, which says nothing of a contraction; pass points that differ")
    return float(largest.max())


def measure_exponent(divergences: Tensor, begin: int) -> float:
    """Return `p` of divergences `(K,)` that fall like `t^p`, from the steps after `begin`, by least squares."""
    steps = torch.arange(begin, len(divergences), dtype=divergences.dtype).log()
    heights = divergences[begin:].log()
    centred = steps - steps.mean()
    return float((centred * heights).sum() / centred.square().sum())


def predict_exponent(rate: float) -> float:
    """Return `-4 (1 - g)`: how divergences fall with the shares by default, where mirror images contract by `g`."""
    return -4 * (1 - rate)


def predict_noise(
    rate: float,
    noise: float,
    steps: int,
) -> float:
    """Return the mean square of an element's error under noise that stays, with the shares by default.

    The shares vanish, and with them what pulls noise back: `noise^2 t / (1 + 4 (1 - g))`, from the recursion
    `v_{t+1} = (1 - 4 (1 - g) / t) v_t + noise^2`.
    """
    return noise**2 * steps / (1 + 4 * (1 - rate))


def contract_towards(
    target: Tensor,
    rate: float,
    potential: Potential,
) -> Operator:
    """Return the operator that brings mirror images nearer to that of its limit by a rate.

    Args:
        target: the limit `(..., D)`.
        rate: `g`, in [0, 1).
        potential: whose mirror it is.
    """
    image = potential.mirror(target)
    return lambda x: potential.unmirror(rate * potential.mirror(x) + (1 - rate) * image)
