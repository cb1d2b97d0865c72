"""Descent without gradients: differences of a loss along random directions, for modules and for black boxes.

    g = mean_i (f(x + u z_i) - f(x - u z_i)) / (2 u) z_i,    x <- x - rate (g + perturbation xi)

With `z` and `xi * sqrt(d)` normal. The perturbation leaves saddle points, where differences vanish (Ren, Tang and Li,
arXiv 2209.13555).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from forerun.optim.difference_estimators import BatchedFunction, DifferenceEstimator, TwoPoint, draw_normal

__all__ = ["BlackBoxDescent", "ZerothOrder", "descend_blackbox"]


@dataclass(frozen=True)
class BlackBoxDescent:
    """Where descents without gradients came to.

    Attributes:
        points: the last points, shaped like the first.
        values: of the function there.
        evaluations: that each descent took until it reached its target; all that it was given where it did not.
        reached: whether it did.
        rounds: batched calls, one after another, of the longest.
    """

    points: Tensor
    values: Tensor
    evaluations: Tensor
    reached: Tensor
    rounds: int


@torch.no_grad()
def descend_blackbox(
    function: BatchedFunction,
    start: Tensor,
    *,
    rate: float,
    estimator: DifferenceEstimator | None = None,
    smoothing: float = 1e-3,
    perturbation: float = 0.0,
    max_evaluations: int = 100_000,
    target: float = -float("inf"),
    seed: int = 0,
) -> BlackBoxDescent:
    """Minimise a function of which only values are known, from one point or several at once.

    Args:
        function: takes points `(..., d)` in one call, and returns values `(...)`.
        start: `(d,)`, or `(S, d)` for several descents that do not see each other.
        rate: of the steps.
        estimator: of gradients; None for `TwoPoint()`.
        smoothing: `u`, the distance of differences.
        perturbation: of every step, isotropic; above zero to leave saddle points.
        max_evaluations: for each descent.
        target: a value at which a descent stops.
        seed: of directions and perturbations.

    Raises:
        ValueError: a setting out of range, a function that returns another shape, or values that are not finite.
    """
    _refuse_black_box(start, rate, smoothing, perturbation)
    estimator = TwoPoint() if estimator is None else estimator
    generator = torch.Generator(start.device).manual_seed(seed)
    points = start.clone() if start.dim() == 2 else start[None].clone()
    values = _require_values(function(points), points)
    evaluations = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    is_active = values > target
    rounds = 0
    while bool((is_active & (evaluations < max_evaluations)).any()):
        gradients, count = estimator.estimate_gradient(function, points, smoothing, generator)
        xi = draw_normal(points.shape, points, generator) / points.shape[-1] ** 0.5
        moved = points - rate * (gradients + perturbation * xi)
        points = torch.where(is_active.unsqueeze(-1), moved, points)
        evaluations = evaluations + count * is_active
        rounds += 1
        values = _require_values(function(points), points)
        is_active = is_active & (values > target) & (evaluations < max_evaluations)
    last = points if start.dim() == 2 else points[0]
    return BlackBoxDescent(last, values, evaluations, values <= target, rounds)


class ZerothOrder(Optimizer):
    """Two-point descent for any module: `step` calls the loss, and no gradient is ever taken or kept.

    Directions come from seeds and are drawn again wherever they are needed, in place: nothing is kept beside the
    parameters, as in MeZO (Malladi et al., arXiv 2305.17333).

        optimizer = ZerothOrder(model.parameters(), lr=1e-4)
        loss = optimizer.step(lambda: cross_entropy(model(inputs), labels))

    Args:
        params: what torch's optimisers take.
        lr: the rate; about that of SGD over the number of parameters that matter.
        smoothing: `u`, the distance of differences.
        directions: of a step, one after another: two calls of the loss each.
        perturbation: of every step; above zero to leave saddle points.
        seed: of all directions.

    Raises:
        ValueError: a setting out of range, or complex parameters.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        smoothing: float = 1e-3,
        directions: int = 1,
        perturbation: float = 0.0,
        seed: int = 0,
    ) -> None:
        if directions < 1:
            raise ValueError(f"a step needs at least one direction, got directions={directions}")
        _refuse_settings(lr, smoothing, perturbation)
        settings = {"lr": lr, "smoothing": smoothing, "perturbation": perturbation}
        super().__init__(params, settings | {"directions": directions, "seed": seed, "count": 0})
        for group in self.param_groups:
            if any(tensor.is_complex() for tensor in group["params"]):
                raise ValueError("parameters must be real: hand over torch.view_as_real(parameter) instead")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> float:  # type: ignore[override]
        """Take a step, and return the mean loss of its evaluations.

        Args:
            closure: returns the loss; it must not draw other random numbers at each of its calls, or differences
                are those of the draws. No `backward` is needed.

        Raises:
            ValueError: no closure, or a loss that is not finite; parameters are then as before.
        """
        if closure is None:
            raise ValueError("pass the loss as a function: optimizer.step(lambda: loss(model(inputs), labels))")
        options = self.param_groups[0]
        seeds = [self._direction_seed(k) for k in range(options["directions"])]
        slopes, losses = zip(*(self._measure_slope(closure, seed) for seed in seeds), strict=True)
        for slope, seed in zip(slopes, seeds, strict=True):
            self._move_along(seed, -slope / len(seeds), by_rate=True)
        if options["perturbation"]:
            size = sum(tensor.numel() for group in self.param_groups for tensor in group["params"])
            share = options["perturbation"] / size**0.5
            self._move_along(self._direction_seed(len(seeds)), -share, by_rate=True)
        for group in self.param_groups:
            group["count"] += 1
        return float(sum(losses) / len(losses))

    def _direction_seed(self, direction: int) -> int:
        options = self.param_groups[0]
        step_seed = options["count"] * (options["directions"] + 1) + direction
        return int(options["seed"] * 1_000_003 + step_seed)

    def _measure_slope(self, closure: Callable[[], Any], seed: int) -> tuple[float, float]:
        """Return the slope of the loss along a direction, and its mean; the parameters come back, to rounding."""
        smoothing = self.param_groups[0]["smoothing"]
        self._move_along(seed, smoothing)
        above = _read_loss(closure())
        self._move_along(seed, -2 * smoothing)
        below = _read_loss(closure())
        self._move_along(seed, smoothing)
        if not math.isfinite(above - below):
            raise ValueError(f"the loss is not finite beside the parameters: {above} and {below}; lower the rate")
        return (above - below) / (2 * smoothing), (above + below) / 2

    def _move_along(self, seed: int, factor: float, *, by_rate: bool = False) -> None:
        """Add a multiple of the direction of a seed to all parameters, in place."""
        generators: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            scale = factor * group["lr"] if by_rate else factor
            for tensor in group["params"]:
                if tensor.device not in generators:
                    generators[tensor.device] = torch.Generator(tensor.device).manual_seed(seed)
                tensor.add_(draw_normal(tensor.shape, tensor, generators[tensor.device]), alpha=scale)


def _read_loss(loss: Any) -> float:
    return float(loss.detach()) if isinstance(loss, Tensor) else float(loss)


def _require_values(values: Tensor, points: Tensor) -> Tensor:
    """Return the values of points `(S, d)`, or refuse those that no descent can go on from."""
    if values.shape != points.shape[:-1]:
        raise ValueError(
            f"the function returned {tuple(values.shape)} for points {tuple(points.shape)}: return one value for each "
            "point, function(points).sum(-1), say"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError("the function is not finite where a descent came to: lower the rate, or the smoothing")
    return values


def _refuse_black_box(
    start: Tensor,
    rate: float,
    smoothing: float,
    perturbation: float,
) -> None:
    if start.dim() not in (1, 2) or not start.is_floating_point():
        raise ValueError(f"start must be real, (d,) or (S, d), got {start.dtype} of shape {tuple(start.shape)}")
    _refuse_settings(rate, smoothing, perturbation)


def _refuse_settings(rate: float, smoothing: float, perturbation: float) -> None:
    if not 0 < smoothing < math.inf:
        raise ValueError(f"the distance of differences must be above zero and finite, got smoothing={smoothing}")
    if not (0 <= rate < math.inf and 0 <= perturbation < math.inf):
        raise ValueError(f"rate and perturbation must be finite, not negative, got {rate} and {perturbation}")
