"""FunctionalEquation: `f(x) = sum_k w_k(x) f(phi_k(x)) + g(x)` on an interval, with values that are fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

RealFunction = Callable[[Tensor], Tensor]
OUTSIDE_ROUNDINGS = 64.0  # of the interval, that an argument may lie outside by rounding


@dataclass(frozen=True)
class FunctionalEquation:
    """A linear functional equation, `f(x) = sum_k w_k(x) f(phi_k(x)) + g(x)`.

    Attributes:
        weights: functions `w_k`, elementwise on tensors `(N,)` and differentiable by torch.
        arguments: functions `phi_k` from the interval to itself, likewise.
        source: `g`; None for zero.
        fixed_values: values of `f` at points where the equation alone leaves them free, such as `{0.0: 0.0, 1.0: 1.0}`.
    """

    weights: Sequence[RealFunction]
    arguments: Sequence[RealFunction]
    source: RealFunction | None = None
    fixed_values: Mapping[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.arguments):
            raise ValueError(
                f"got {len(self.weights)} weights and {len(self.arguments)} arguments; pass one of each for a term, "
                "weights=[lambda x: x, lambda x: 1 - x], arguments=[lambda x: (1 + x) / 2, lambda x: x / 2]"
            )

    @property
    def fixed_points(self) -> list[float]:
        """Where `f` is fixed, in order."""
        return sorted(self.fixed_values)

    def measure_weights(self, x: Tensor) -> Tensor:
        """Return all weights at points `(N,)`, `(K, N)`."""
        return torch.stack([self._call_function(weight, x, "weights") for weight in self.weights])

    def measure_arguments(self, x: Tensor, interval: tuple[float, float]) -> Tensor:
        """Return all arguments at points `(N,)`, `(K, N)`, none of them outside of the interval.

        Raises:
            ValueError: one lies outside.
        """
        low, high = interval
        places = torch.stack(
            [
                self._call_function(
                    argument,
                    x,
                    "arguments",
                )
                for argument in self.arguments
            ]
        )
        slack = OUTSIDE_ROUNDINGS * torch.finfo(x.dtype).eps * (high - low)
        if float(places.min()) < low - slack or float(places.max()) > high + slack:
            term = int((places.amax(1) - high).maximum(low - places.amin(1)).argmax())
            raise ValueError(
                f"arguments[{term}] goes from {float(places[term].min()):g} to {float(places[term].max()):g}, outside "
                f"of the grid from {low:g} to {high:g}; pass a grid that it maps to itself"
            )
        return places.clamp(low, high)

    def measure_source(self, x: Tensor) -> Tensor:
        """Return `g` at points `(N,)`."""
        return (
            torch.zeros_like(x)
            if self.source is None
            else self._call_function(
                self.source,
                x,
                "source",
            )
        )

    def measure_distance(self, x: Tensor, power: float) -> Tensor:
        """Return `prod_p |x - p|^power` over the points where `f` is fixed: a weight of the largest element."""
        distance = torch.ones_like(x)
        for point in self.fixed_points:
            distance = distance * (x - point).abs()
        return distance**power

    def _call_function(
        self,
        function: RealFunction,
        x: Tensor,
        name: str,
    ) -> Tensor:
        values = torch.as_tensor(function(x), dtype=x.dtype).expand_as(x)
        if not bool(values.isfinite().all()):
            place = float(x[~values.isfinite()][0])
            raise ValueError(f"{name} are not finite at x = {place:g}; restrict the grid to where they are")
        return values


def differentiate_elements(function: RealFunction, x: Tensor) -> Tensor:
    """Return the derivatives `(N,)` of an elementwise function at points `(N,)`."""
    with torch.enable_grad():
        points = x.detach().clone().requires_grad_()
        values = torch.as_tensor(function(points), dtype=x.dtype)
        if not values.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(values.sum(), points)[0]
