"""odeint: an ordinary differential equation on a fixed grid, all steps at once, with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.methods import Method
from forerun.sequence.recurrent.scan import ScanSolution, scan


@final
@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta scheme: `k_j = f(t + c_j dt, y + dt sum_l a_jl k_l)`, `y' = y + dt sum_j b_j k_j`.

    Attributes:
        a: one row a stage, each as long as the stages before it.
        b: weights of the stages.
        c: places of the stages in the step.
    """

    a: Sequence[Sequence[float]]
    b: Sequence[float]
    c: Sequence[float]

    def step(self, f: Callable[[Tensor, Tensor], Tensor], t: Tensor, dt: Tensor, y: Tensor) -> Tensor:
        """The state `dt` after `t`; all of them tensors that broadcast with `y`."""
        stages: list[Tensor] = []
        for row, place in zip(self.a, self.c, strict=True):
            stages.append(f(t + place * dt, y + dt * _weighted(row, stages, y)))
        return y + dt * _weighted(self.b, stages, y)


EULER = ButcherTableau(a=((),), b=(1.0,), c=(0.0,))
RK4 = ButcherTableau(
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), c=(0.0, 0.5, 0.5, 1.0)
)
DOPRI5 = ButcherTableau(  # the fifth-order solution of Dormand and Prince 1980
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
)


def odeint(
    f: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    t: Tensor,
    *,
    scheme: ButcherTableau = RK4,
    method: Method | None = None,
    **options: Any,
) -> ScanSolution:
    """The solution of `dy/dt = f(t, y)` at the times of a grid, one step of a scheme between two of them.

    Args:
        f: for many steps at once: `t` `(N, 1, ...)`, which broadcasts with `y` `(N, *shape)`; returns `(N, *shape)`.
        y0: at `t[0]`, `(B, *shape)`.
        t: the grid, `(T + 1,)`, rising or falling.
        scheme: `RK4`, `DOPRI5` (its fifth-order solution, the step being that of the grid) or `EULER`.
        method: see `forerun.sequence.scan`, like the other options.

    Returns:
        A `ScanSolution` whose `hidden` holds the solution at `t[1:]`, `(T, B, *shape)`: differentiable in `y0`, `t` and
        in what `f` closes over, by one reverse scan.

    Raises:
        ValueError: the grid has no step, or does not rise or fall throughout.
    """
    steps = t.diff()
    if t.dim() != 1 or not len(steps) or not bool((steps > 0).all() | (steps < 0).all()):
        raise ValueError(
            f"t has shape {list(t.shape)}, and must be a grid of two or more times that rises or falls throughout; "
            "pass torch.linspace(0, 1, 101)"
        )
    grid = torch.stack([t[:-1], steps], -1).to(y0)
    grid = grid.unsqueeze(1).expand(-1, len(y0), -1)

    def cell(y: Tensor, place: Tensor) -> Tensor:
        time, dt = (each.reshape(-1, *[1] * (y.dim() - 1)) for each in place.unbind(-1))
        return scheme.step(f, time, dt, y)

    return scan(cell, y0, grid, method=method, **options)


def _weighted(weights: Sequence[float], stages: Sequence[Tensor], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total + weight * stage
    return total
